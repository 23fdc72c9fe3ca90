//! The data path: Send, ChannelData, and what comes from peers.

use std::net::SocketAddr;

use turnpike_proto::{ClientVerdict, Family, Icmp, PeerVerdict, Route, Transport};

use super::{
    super::{
        super::input::Input,
        model::{Delivery, State, count},
        script::{CLIENTS, Data, channel_number, is_own},
    },
    Play,
};
use crate::message::*;

impl Play {
    pub(super) fn send(&mut self, input: &mut Input<'_>) {
        let client = usize::from(input.byte()) % CLIENTS;
        let Data { peer, payload } = Data::any(input);
        let start = Builder::new(SEND, 1);
        let how = input.byte() % 16;
        let (message, complete) = match how {
            1 => (start.attr(DATA, &payload), false),
            2 => (start.peer(peer.address), false),
            3 => (start.peer(peer.address).attr(DATA, &payload).attr(0x7001, b""), false),
            4 => (start.attr(DATA, &payload).peer(peer.address), true),
            5 => (start.attr(DONT_FRAGMENT, b"").peer(peer.address).attr(DATA, &payload), true),
            _ => (start.peer(peer.address).attr(DATA, &payload).fingerprint(), true),
        };
        let expected = self.model.sends(client, peer).filter(|_| complete);
        self.forward(client, &message.bytes, expected, &payload, how == 5);
    }

    pub(super) fn channel_data(&mut self, input: &mut Input<'_>) {
        let client = usize::from(input.byte()) % CLIENTS;
        let number = channel_number(input).unwrap_or(0x4003);
        let payload = Data::any(input).payload;
        let mut datagram = channel_data(number, &payload);
        let whole = match input.byte() % 8 {
            1 if !payload.is_empty() => datagram.pop().is_none(),
            2 => {
                datagram.extend([0xEE; 3]);
                true
            }
            _ => true,
        };
        let expected = self.model.channel(client, number).filter(|_| whole);
        self.forward(client, &datagram, expected, &payload, false);
    }

    /// Gives a datagram that goes to this peer with this payload, or nowhere.
    fn forward(
        &mut self,
        client: usize,
        datagram: &[u8],
        expected: Option<SocketAddr>,
        payload: &[u8],
        whole: bool,
    ) {
        let (verdict, sent) = self.give(client, datagram);
        assert!(sent.is_empty());
        match (expected, verdict) {
            (Some(to), ClientVerdict::Relay { allocation, peer, payload: range, route, dont_fragment }) => {
                assert_eq!((peer, &datagram[range], dont_fragment), (to, payload, whole));
                let family = Family::of(peer.ip());
                let traffic = &mut self.model.by_key(allocation).traffic[family];
                count(&mut traffic.peer_out, payload.len(), family);
                if is_own(peer) {
                    assert_eq!(route, Route::Own { or_socket: false });
                    self.driver.server.hairpinned(allocation, family, payload.len());
                    count(&mut traffic.hairpin, payload.len(), family);
                } else {
                    assert_eq!(route, Route::Socket);
                    self.driver.server.sent_to_peer(allocation, family, payload.len());
                }
            }
            (None, ClientVerdict::Drop(_)) => {}
            (expected, verdict) => panic!("{expected:?}, {verdict:?}"),
        }
    }

    pub(super) fn peer_data(&mut self, input: &mut Input<'_>) {
        let Data { peer, payload } = Data::any(input);
        let bound: Vec<usize> = self.model.bound().collect();
        let Some(at) = bound.get(usize::from(input.byte()) % bound.len().max(1)) else { return };
        let allocation = &mut self.model.allocations[*at];
        let key = allocation.key.expect("one that was opened has a key");
        if allocation.state != State::Gone {
            let family = Family::of(peer.address.ip());
            count(&mut allocation.traffic[family].peer_in, payload.len(), family);
        }
        let client = self.clients[allocation.client];
        let expected = self.model.delivery(*at, peer.address);
        match (expected, self.driver.server.handle_peer(self.now(), key, peer.address, payload.len())) {
            (
                Delivery::ChannelData(_) | Delivery::Indication,
                PeerVerdict::Relay { five_tuple, header, pad },
            ) => {
                assert_eq!(five_tuple, client);
                let bytes = [header.as_ref(), &payload, &vec![0; pad.into()]].concat();
                check_data(&bytes, expected, peer.address, &payload, client.transport);
                self.driver.server.sent_to_client(key, bytes.len());
                let family = Family::of(client.client.ip());
                let traffic = &mut self.model.by_key(key).traffic[family];
                count(&mut traffic.client_out, bytes.len(), family);
            }
            (Delivery::None, PeerVerdict::Drop(_)) => {}
            (expected, verdict) => panic!("{expected:?}, {verdict:?}"),
        }
        self.expect_nothing_sent();
    }

    /// A client may be spared an error, for they are told of at a limited rate.
    pub(super) fn icmp(&mut self, input: &mut Input<'_>) {
        let about = Data::any(input).peer.address;
        let kind = input.pick(&[3, 11, 1, 2, 0, 8, 128]);
        let code = input.byte() % 8;
        let bound: Vec<usize> = self.model.bound().collect();
        let Some(at) = bound.get(usize::from(input.byte()) % bound.len().max(1)) else { return };
        let key = self.model.allocations[*at].key.expect("one that was opened has a key");
        let client = self.clients[self.model.allocations[*at].client];
        let icmp = Icmp { kind, code, mtu: 1280 };
        if let PeerVerdict::Relay { five_tuple, header, pad } =
            self.driver.server.handle_icmp(self.now(), key, about, icmp)
        {
            assert!(self.model.tells(*at, about, kind), "{about} {kind}");
            assert_eq!((five_tuple, pad), (client, 0));
            let message = Parsed::read(header.as_ref());
            assert_eq!((message.kind, message.address(XOR_PEER)), (0x0017, about));
            let names_mtu = if about.is_ipv4() { (kind, code) == (3, 4) } else { kind == 2 };
            let [high, low] = (u16::from(kind) << 9 | u16::from(code)).to_be_bytes();
            let data: u32 = if names_mtu { 1280 } else { 0 };
            let value = [&[0, 0, high, low][..], &data.to_be_bytes()].concat();
            assert_eq!(message.get(ICMP), Some(value.as_slice()));
            self.driver.server.sent_to_client(key, header.as_ref().len());
            let family = Family::of(client.client.ip());
            let traffic = &mut self.model.by_key(key).traffic[family];
            count(&mut traffic.client_out, header.as_ref().len(), family);
        }
        self.expect_nothing_sent();
    }
}

/// ChannelData, padded towards a stream (RFC 8656 §12.5), or a Data indication (RFC 8656 §11.3).
fn check_data(bytes: &[u8], how: Delivery, from: SocketAddr, payload: &[u8], transport: Transport) {
    let Delivery::ChannelData(number) = how else {
        let data = Parsed::read(bytes);
        assert_eq!((data.kind, data.address(XOR_PEER)), (0x0017, from));
        return assert_eq!(data.get(DATA), Some(payload));
    };
    let mut expected = channel_data(number, payload);
    if transport != Transport::Udp {
        expected.resize(expected.len().next_multiple_of(4), 0);
    }
    assert_eq!(bytes, expected);
}
