//! ICMP errors from the way to peers, out of the error queues of relay sockets (RFC 8656 §11.5).

use std::{net::SocketAddr, os::fd::AsFd as _};

use turnpike_proto::{AllocationKey, Family, Icmp};

use super::{Shard, outbox::Payload};
use crate::io::{Origin, next_error};

/// Most errors that one relay socket gives at a time, and most datagrams of a turn that a client is told of because they
/// are too long.
pub(super) const BATCH: usize = 16;

impl Shard {
    /// Takes the errors of a relay socket, up to a limit. Of those that come from this host, only the refusals of this
    /// turn's datagrams with DF are told.
    pub(super) fn read_errors(&mut self, slot: u32, family: Family) {
        for _ in 0..BATCH {
            let Some(relay) = self.relays.get(slot as usize).and_then(Option::as_ref) else { return };
            let Some(socket) = relay.sockets.socket(family) else { return };
            let allocation = relay.key;
            let Some(error) = next_error(socket.as_fd()) else { return };
            match error.origin {
                Origin::Icmp { kind, code, info } => {
                    self.tell_of(allocation, error.peer, Icmp { kind, code, mtu: info });
                }
                Origin::TooLong { mtu } => {
                    let is_meant = |(key, peer): &(AllocationKey, SocketAddr)| {
                        *key == allocation && peer.ip() == error.peer.ip()
                    };
                    if let Some(place) = self.too_long.iter().position(is_meant) {
                        let (_, peer) = self.too_long.remove(place);
                        self.tell_of(allocation, peer, too_big(family, mtu));
                    }
                }
                Origin::Other => {}
            }
        }
    }

    /// Tells clients of datagrams with DF that were too long for the interface that they were to leave by.
    pub(super) fn tell_of_too_long(&mut self) {
        while let Some((allocation, peer)) = self.too_long.first().copied() {
            let before = self.too_long.len();
            self.read_errors(allocation.index, Family::of(peer.ip()));
            if self.too_long.len() == before {
                // The kernel had no room to queue its error, so that nobody knows the MTU.
                self.too_long.remove(0);
            }
        }
    }

    fn tell_of(&mut self, allocation: AllocationKey, peer: SocketAddr, icmp: Icmp) {
        let verdict = self.server.handle_icmp(self.now, allocation, peer, icmp);
        self.send_to_client(allocation, verdict, Payload::Empty);
    }
}

/// What the first router would answer.
fn too_big(family: Family, mtu: u32) -> Icmp {
    match family {
        Family::Ipv4 => Icmp { kind: 3, code: 4, mtu },
        Family::Ipv6 => Icmp { kind: 2, code: 0, mtu },
    }
}
