//! ICMP errors from the way to a peer (RFC 8656 §11.5).

use std::{net::SocketAddr, time::Duration};

use rand::Rng as _;

use crate::{
    AllocationKey, DropReason, Family, Icmp, Now, PeerVerdict, Server, allocation::State,
    wire::icmp_indication,
};

/// Types and codes that name an MTU: fragmentation needed of ICMPv4, packet too big of ICMPv6.
const FRAGMENTATION_NEEDED: (u8, u8) = (3, 4);
const PACKET_TOO_BIG: u8 = 2;

impl Server {
    /// Takes an ICMP error about a datagram that was sent to `peer` from the allocation's relayed address. The verdict
    /// is a whole message without a payload.
    pub fn handle_icmp(&mut self, now: Now, key: AllocationKey, peer: SocketAddr, icmp: Icmp) -> PeerVerdict {
        self.tell_of(now.mono, key, peer, icmp).unwrap_or_else(|reason| {
            self.counters.dropped.count(reason);
            PeerVerdict::Drop(reason)
        })
    }

    /// The permission that counts is the peer's, whoever has sent the error.
    fn tell_of(
        &mut self,
        now: Duration,
        key: AllocationKey,
        peer: SocketAddr,
        icmp: Icmp,
    ) -> Result<PeerVerdict, DropReason> {
        let told = told(Family::of(peer.ip()), icmp).ok_or(DropReason::IcmpType)?;
        let strict = self.config.strict_permissions;
        let transaction_id = self.random.random();
        let allocation =
            self.get_mut(key).filter(|a| a.state != State::Opening).ok_or(DropReason::StaleAllocation)?;
        if !allocation.is_live(now) {
            return Err(DropReason::StaleAllocation);
        }
        if !allocation.permits(peer.ip(), now, strict) {
            return Err(DropReason::NoPermission);
        }
        if !allocation.may_tell_of_icmp(now) {
            return Err(DropReason::IcmpRate);
        }
        let header = icmp_indication(peer, &transaction_id, told);
        Ok(PeerVerdict::Relay { five_tuple: allocation.five_tuple, header, pad: 0 })
    }
}

/// The errors that clients are told of. Error data is the MTU or nothing (RFC 8656 §18.13).
fn told(family: Family, icmp: Icmp) -> Option<Icmp> {
    let names_mtu = match (family, icmp.kind) {
        (Family::Ipv4, 3 | 11) => (icmp.kind, icmp.code) == FRAGMENTATION_NEEDED,
        (Family::Ipv6, 1..=3) => icmp.kind == PACKET_TOO_BIG,
        _ => return None,
    };
    Some(Icmp { mtu: if names_mtu { icmp.mtu } else { 0 }, ..icmp })
}
