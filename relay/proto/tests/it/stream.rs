use proptest::prelude::*;
use turnpike_proto::{ClientVerdict, Frame, MAX_FRAME, Transport, next_frame};

use crate::{
    message::*,
    world::{User, World, peer},
};

fn pad(mut bytes: Vec<u8>) -> Vec<u8> {
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

#[test]
fn rule_92_a_stream_cut_at_every_byte_gives_the_same_messages() {
    let mut user = User::new(1, "a");
    let messages = [
        user.request(BINDING).bytes,
        pad(channel_data(0x4000, b"")),
        pad(channel_data(0x4000, b"hello")),
        user.request(SEND).peer(peer(1, 5000)).attr(DATA, b"12345").bytes,
        pad(channel_data(0x4FFF, &[7; 1000])),
        user.request(BINDING).fingerprint().bytes,
    ];
    let stream = messages.concat();
    for cut in 0..=stream.len() {
        let (mut buffer, mut found) = (Vec::new(), Vec::new());
        for part in [&stream[..cut], &stream[cut..]] {
            buffer.extend_from_slice(part);
            loop {
                match next_frame(&buffer) {
                    Frame::Whole(len) => found.push(buffer.drain(..len).collect::<Vec<u8>>()),
                    Frame::Partial(needed) => {
                        assert!(needed > buffer.len() && needed <= MAX_FRAME);
                        break;
                    }
                    Frame::Invalid => panic!("cut at {cut}"),
                }
            }
        }
        assert!(buffer.is_empty());
        assert_eq!(found, messages, "cut at {cut}");
    }
}

#[test]
fn what_is_neither_stun_nor_channel_data_is_invalid_as_soon_as_it_can_be_known() {
    for first in (4..=63).chain(128..=255) {
        assert_eq!(next_frame(&[first]), Frame::Invalid, "{first}");
        assert_eq!(next_frame(&[first, 0, 0, 0]), Frame::Invalid, "{first}");
    }
    assert_eq!(next_frame(&[0, 1, 0, 3]), Frame::Invalid, "a length that is no multiple of 4");
    assert_eq!(next_frame(&[0, 1, 0, 0, 0x21, 0x12, 0xA4, 0x43]), Frame::Invalid, "another cookie");
    assert_eq!(next_frame(&[0, 1, 0, 0, 0x21, 0x12, 0xA4]), Frame::Partial(20));
    assert_eq!(next_frame(&[]), Frame::Partial(4));
}

proptest! {
    #[test]
    fn any_buffer_makes_progress_or_waits_for_a_bounded_more(buffer: Vec<u8>) {
        match next_frame(&buffer) {
            Frame::Whole(len) => prop_assert!(len >= 4 && len <= buffer.len() && len % 4 == 0),
            Frame::Partial(needed) => prop_assert!(needed > buffer.len() && needed <= MAX_FRAME),
            Frame::Invalid => {}
        }
    }
}

#[test]
fn rule_92_channel_data_to_a_stream_is_padded_and_to_udp_it_is_not() {
    for (transport, padded) in [(Transport::Udp, 0), (Transport::Tcp, 3), (Transport::Tls, 3)] {
        let mut world = World::new();
        let mut user = User::new(1, "a");
        user.tuple.transport = transport;
        assert!(user.allocate(&mut world).is_success());
        user.bind(&mut world, 0x4000, peer(1, 5000));
        let bytes = world.peer_sends(&user, peer(1, 5000), b"hello").unwrap();
        assert_eq!(bytes.len(), 4 + 5 + padded, "{transport:?}");
        let from_client = pad(channel_data(0x4000, b"hello"));
        let ClientVerdict::Relay { payload, .. } = world.silent(&user.tuple, &from_client) else { panic!() };
        assert_eq!(&from_client[payload], b"hello");
    }
}
