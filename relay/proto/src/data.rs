//! The data path: ChannelData, Send and what comes from peers, each answered by a verdict.

use std::{net::SocketAddr, time::Duration};

use rand::Rng as _;

use crate::{
    AllocationKey, ClientVerdict, Denied, DropReason, Family, Now, PeerVerdict, Server,
    address::header_overhead,
    allocation::State,
    wire::{Message, Send, channel_data, data_indication},
};

impl Server {
    /// Takes a datagram that `from` sent to the relayed address of an allocation: by its relay socket, or through the
    /// hairpin with the sender's relayed address as `from`.
    pub fn handle_peer(
        &mut self,
        now: Now,
        key: AllocationKey,
        from: SocketAddr,
        payload_len: usize,
    ) -> PeerVerdict {
        self.deliver(now.mono, key, from, payload_len).unwrap_or_else(|reason| {
            self.counters.dropped.count(reason);
            PeerVerdict::Drop(reason)
        })
    }

    fn deliver(
        &mut self,
        now: Duration,
        key: AllocationKey,
        from: SocketAddr,
        payload_len: usize,
    ) -> Result<PeerVerdict, DropReason> {
        let strict = self.config.strict_permissions;
        let transaction_id = self.random.random();
        let allocation =
            self.get_mut(key).filter(|a| a.state != State::Opening).ok_or(DropReason::StaleAllocation)?;
        allocation.count_peer_in(Family::of(from.ip()), payload_len);
        if !allocation.is_live(now) {
            return Err(DropReason::StaleAllocation);
        }
        if !allocation.permits(from.ip(), now, strict) {
            return Err(DropReason::NoPermission);
        }
        let framed = match allocation.channel_to(from, now) {
            Some(channel) => {
                let pad = channel_data::padding(allocation.five_tuple.transport, payload_len);
                channel_data::header(channel.number, payload_len).map(|header| (header, pad))
            }
            None => data_indication(from, &transaction_id, payload_len),
        };
        let (header, pad) = framed.ok_or(DropReason::TooLarge)?;
        let five_tuple = allocation.five_tuple;
        self.spend(now, key.index, relayed_bytes(from, payload_len))?;
        Ok(PeerVerdict::Relay { five_tuple, header, pad })
    }

    /// RFC 8656 §12.6. A bound channel needs no permission in this direction.
    pub(crate) fn handle_channel_data(
        &mut self,
        now: Now,
        index: Option<u32>,
        datagram: &[u8],
    ) -> Result<ClientVerdict, DropReason> {
        let index = index.ok_or(DropReason::NoAllocation)?;
        let (number, payload) = channel_data::parse(datagram)?;
        let channel = *self.at(index).channel(number, now.mono).ok_or(DropReason::NoChannel)?;
        self.spend(now.mono, index, relayed_bytes(channel.peer, payload.len()))?;
        Ok(ClientVerdict::Relay {
            allocation: self.key(index),
            peer: channel.peer,
            payload,
            route: channel.route,
            dont_fragment: false,
        })
    }

    /// RFC 8656 §11.2. Never answered, and refreshes nothing.
    pub(crate) fn handle_send(
        &mut self,
        now: Now,
        index: Option<u32>,
        message: &Message<'_>,
    ) -> Result<ClientVerdict, DropReason> {
        let index = index.ok_or(DropReason::NoAllocation)?;
        let Send { peer, payload, dont_fragment } = Send::parse(message)?;
        let strict = self.config.strict_permissions;
        if !self.at(index).permits(peer.ip(), now.mono, strict) {
            return Err(DropReason::NoPermission);
        }
        self.policy.judge_port(peer).map_err(|denied| match denied {
            Denied::OwnAddress => DropReason::OwnAddress,
            _ => DropReason::PeerPort,
        })?;
        let route = self.policy.route(peer.ip());
        self.spend(now.mono, index, relayed_bytes(peer, payload.len()))?;
        Ok(ClientVerdict::Relay { allocation: self.key(index), peer, payload, route, dont_fragment })
    }
}

/// What a payload counts on the peers' side.
fn relayed_bytes(peer: SocketAddr, payload_len: usize) -> u64 {
    payload_len as u64 + header_overhead(Family::of(peer.ip()))
}
