//! ChannelData in both directions (RFC 8656 §12.4 to §12.6).

use std::net::SocketAddr;

use turnpike_proto::{ClientVerdict, DropReason, Transport};

use super::input::Input;
use crate::{
    message::ALLOCATE,
    world::{User, World, peer},
};

const BOUND: [(u16, u8); 2] = [(0x4000, 1), (0x4FFF, 2)];

/// The first byte chooses the transport, two more a length that a peer sends; the rest is the datagram.
pub fn run(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let transport = input.pick(&[Transport::Udp, Transport::Tcp, Transport::Tls]);
    let from_peer = usize::from(input.byte()) << 8 | usize::from(input.byte());
    let datagram = input.take(usize::MAX);

    let mut world = World::new();
    let mut user = User::new(1, "a");
    user.tuple.transport = transport;
    user.challenge(&mut world);
    let allocate = user.request(ALLOCATE).udp();
    assert!(user.ask(&mut world, allocate).is_success());
    for (number, host) in BOUND {
        assert!(user.bind(&mut world, number, peer(host, 5000)).is_success());
    }
    from_client(&mut world, &user, datagram);
    to_client(&mut world, &user, from_peer);
}

fn from_client(world: &mut World, user: &User, datagram: &[u8]) {
    if datagram.first().is_none_or(|first| *first < 4) {
        return;
    }
    let verdict = world.silent(&user.tuple, datagram);
    match (expected(datagram), verdict) {
        (Some((to, payload)), ClientVerdict::Relay { peer, payload: range, .. }) => {
            assert_eq!((peer, &datagram[range]), (to, payload));
        }
        (None, ClientVerdict::Drop(reason)) => assert_ne!(reason, DropReason::Empty),
        (expected, verdict) => panic!("{expected:?}, {verdict:?}"),
    }
}

fn expected(datagram: &[u8]) -> Option<(SocketAddr, &[u8])> {
    let (header, rest) = datagram.split_at_checked(4)?;
    let number = u16::from_be_bytes([header[0], header[1]]);
    let length = u16::from_be_bytes([header[2], header[3]]);
    let (_, host) = BOUND.into_iter().find(|(bound, _)| *bound == number)?;
    Some((peer(host, 5000), rest.get(..length.into())?))
}

fn to_client(world: &mut World, user: &User, len: usize) {
    for (number, host) in BOUND {
        let payload = vec![0xA5; len];
        let bytes = world.peer_sends(user, peer(host, 5000), &payload).expect("every length fits");
        assert_eq!(bytes[..2], number.to_be_bytes());
        assert_eq!(bytes[2..4], (len as u16).to_be_bytes());
        assert_eq!(bytes[4..4 + len], payload);
        let padding = match user.tuple.transport {
            Transport::Udp => 0,
            Transport::Tcp | Transport::Tls => len.wrapping_neg() % 4,
        };
        assert_eq!(bytes[4 + len..], vec![0; padding]);
    }
}
