//! Payloads to and from peers: by relay sockets, and in process where the peer is an allocation of this node.

use std::{
    net::{IpAddr, SocketAddr},
    ops::Range,
    os::fd::AsFd as _,
};

use turnpike_proto::{AllocationKey, DropReason, Family, FiveTuple, PeerVerdict, Route};

use super::{
    Relay, Shard, SocketCall,
    outbox::{Account, Entry, Exit, Kept, Payload},
};
use crate::{io::coalesce, ring::Full, shared::Place};

/// Most datagrams that one relay socket gives at a time.
pub(super) const BATCH: usize = 16;
/// Datagrams in one batch that show that a relay socket carries bursts: from then on the kernel may put them together.
const BURST: usize = 4;
/// Most payloads that one ring gives in a turn.
const PARCELS: usize = 64;

/// A client's payload, which is in the inbox.
pub(super) struct ToPeer {
    pub(super) slot: usize,
    pub(super) range: Range<usize>,
    /// It leaves with DF, or not at all.
    pub(super) dont_fragment: bool,
}

impl Shard {
    /// Takes one batch from a relay socket of a slot.
    pub(super) fn read_relay(&mut self, slot: u32, family: Family) {
        let Some(relay) = self.relays.get_mut(slot as usize).and_then(Option::as_mut) else { return };
        let Some(socket) = relay.sockets.socket(family) else { return };
        let allocation = relay.key;
        let received = self.inbox.receive(socket.as_fd(), BATCH);
        let slots = received.unwrap_or_else(|error| {
            self.socket_errors.count(SocketCall::Receive);
            tracing::debug!(%error, relayed = ?relay.sockets.advertised[family], "receive failed");
            0..0
        });
        if slots.len() >= BURST && !relay.coalesces[family] {
            // A kernel that cannot is not asked again.
            relay.coalesces[family] = true;
            let _ = coalesce(socket);
        }
        for slot in slots {
            let Some(received) = self.inbox.received(slot) else { continue };
            if received.truncated {
                self.server.dropped(DropReason::TooLarge);
                continue;
            }
            self.together.count(received.count());
            for range in received.datagrams() {
                let len = range.len();
                self.deliver(allocation, received.from, len, Payload::Received { slot, range });
            }
        }
    }

    /// Takes what other shards have sent here.
    pub(super) fn read_rings(&mut self) {
        for ring in 0..self.rings.incoming() {
            for _ in 0..PARCELS {
                let Some(parcel) = self.rings.pop(ring) else { break };
                let len = parcel.bytes.len();
                let payload = self.outbox.keep(Kept { bytes: parcel.bytes, ring: Some(ring) });
                self.deliver(parcel.allocation, parcel.from, len, payload);
            }
        }
    }

    /// Sends a client's payload to its peer.
    pub(super) fn send_to_peer(
        &mut self,
        allocation: AllocationKey,
        peer: SocketAddr,
        payload: ToPeer,
        route: Route,
    ) {
        let or_socket = match route {
            Route::Socket => true,
            Route::Own { or_socket } => match self.node.shared.table.find(peer) {
                Some(place) => return self.hairpin(allocation, peer, place, payload),
                None => or_socket,
            },
        };
        let ToPeer { slot, range, dont_fragment } = payload;
        let family = Family::of(peer.ip());
        match or_socket {
            true => self.outbox.push(Entry {
                exit: Exit::Relay(allocation.index, family),
                to: peer,
                from: None,
                header: None,
                payload: Payload::Received { slot, range },
                pad: 0,
                dont_fragment,
                account: Account::Peer(allocation, family),
            }),
            false => self.server.dropped(DropReason::OwnAddress),
        }
    }

    /// Hands a payload to another allocation of this node. Its peer is the sender's relayed address of the same family,
    /// as seen outside. Nothing on this way fragments.
    fn hairpin(&mut self, sender: AllocationKey, peer: SocketAddr, to: Place, payload: ToPeer) {
        let ToPeer { slot, range, .. } = payload;
        let (family, len) = (Family::of(peer.ip()), range.len());
        let from = self.relay(sender).sockets.advertised[family];
        let from = from.expect("a permitted peer is of the family of a relayed address");
        if to.shard == self.id {
            self.server.hairpinned(sender, family, len);
            return self.deliver(to.allocation, from, len, Payload::Received { slot, range });
        }
        match self.rings.push(to.shard, to.allocation, from, &self.inbox.bytes(slot)[range]) {
            Ok(()) => self.server.hairpinned(sender, family, len),
            Err(Full) => self.server.dropped(DropReason::RingFull),
        }
    }

    /// Sends a peer's payload to the client of an allocation.
    fn deliver(&mut self, allocation: AllocationKey, from: SocketAddr, len: usize, payload: Payload) {
        let verdict = self.server.handle_peer(self.now, allocation, from, len);
        self.send_to_client(allocation, verdict, payload);
    }

    /// Does what the core says about something from the way to a peer.
    pub(super) fn send_to_client(
        &mut self,
        allocation: AllocationKey,
        verdict: PeerVerdict,
        payload: Payload,
    ) {
        match verdict {
            PeerVerdict::Relay { five_tuple, header, pad } => {
                let exit = self.relay(allocation).exit;
                self.outbox.push(Entry {
                    exit,
                    to: five_tuple.client,
                    from: self.source(exit, &five_tuple),
                    header: Some(header),
                    payload,
                    pad,
                    dont_fragment: false,
                    account: Account::Client(allocation),
                });
            }
            PeerVerdict::Drop(_) => {}
        }
        // It may have spent the last bytes of its credential.
        self.act_on_outputs();
    }

    /// The address that answers to a client leave from, where the listener leaves that open.
    pub(super) fn source(&self, exit: Exit, five_tuple: &FiveTuple) -> Option<IpAddr> {
        let Exit::Listener(listener) = exit else { return None };
        let on_any = self.listeners[listener].local.ip().is_unspecified();
        on_any.then_some(five_tuple.server.ip())
    }

    fn relay(&self, allocation: AllocationKey) -> &Relay {
        let relay = self.relays[allocation.index as usize].as_ref();
        relay.expect("an allocation that the core calls live has a relay socket")
    }
}
