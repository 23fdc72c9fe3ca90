use turnpike_proto::{ClientVerdict, DropReason, Route};

use crate::{
    message::*,
    world::{User, World, peer},
};

#[test]
fn rule_79_send_needs_a_peer_and_data_and_data_may_be_empty() {
    let mut world = World::new();
    let mut user = User::ready(&mut world, 1, "a");
    user.permit(&mut world, peer(1, 0).ip());
    let no_data = user.request(SEND).peer(peer(1, 5000)).bytes;
    let no_peer = user.request(SEND).attr(DATA, b"x").bytes;
    let bad_peer = user.request(SEND).attr(XOR_PEER, &[0, 1]).attr(DATA, b"x").bytes;
    for datagram in [no_data, no_peer, bad_peer] {
        assert_eq!(world.silent(&user.tuple, &datagram), ClientVerdict::Drop(DropReason::Malformed));
    }
    let empty = user.request(SEND).peer(peer(1, 5000)).attr(DATA, b"").bytes;
    let ClientVerdict::Relay { payload, route, .. } = world.silent(&user.tuple, &empty) else { panic!() };
    assert!(payload.is_empty());
    assert_eq!(route, Route::Socket);
}

#[test]
fn rule_81_send_with_dont_fragment_says_so_to_the_driver_and_nothing_else_does() {
    let mut world = World::new();
    let mut user = User::ready(&mut world, 1, "a");
    user.bind(&mut world, 0x4000, peer(1, 5000));
    let plain = user.request(SEND).peer(peer(1, 5000)).attr(DATA, b"x").bytes;
    let first = user.request(SEND).attr(DONT_FRAGMENT, b"").peer(peer(1, 5000)).attr(DATA, b"x").bytes;
    let last = user.request(SEND).peer(peer(1, 5000)).attr(DATA, b"x").attr(DONT_FRAGMENT, b"").bytes;
    for (datagram, expected) in
        [(plain, false), (first, true), (last, true), (channel_data(0x4000, b"x"), false)]
    {
        let ClientVerdict::Relay { dont_fragment, .. } = world.silent(&user.tuple, &datagram) else {
            panic!()
        };
        assert_eq!(dont_fragment, expected);
    }
}

#[test]
fn send_forwards_exactly_its_data_wherever_it_stands() {
    let mut world = World::new();
    let mut user = User::ready(&mut world, 1, "a");
    user.permit(&mut world, peer(1, 0).ip());
    for len in [1, 2, 3, 4, 1000, 1436] {
        let data: Vec<u8> = (0..len).map(|i| i as u8).collect();
        let first = user.request(SEND).attr(DATA, &data).attr(SOFTWARE, b"abc").peer(peer(1, 5000)).bytes;
        let last = user.request(SEND).peer(peer(1, 5000)).attr(DATA, &data).fingerprint().bytes;
        for datagram in [first, last] {
            let ClientVerdict::Relay { payload, peer: to, .. } = world.silent(&user.tuple, &datagram) else {
                panic!()
            };
            assert_eq!((&datagram[payload], to), (data.as_slice(), peer(1, 5000)));
        }
    }
}

#[test]
fn rule_82_a_data_indication_carries_the_peer_and_the_data_unsigned() {
    let mut world = World::new();
    let mut user = User::ready(&mut world, 1, "a");
    user.permit(&mut world, peer(1, 0).ip());
    let mut transactions = std::collections::HashSet::new();
    for len in 0..9 {
        let payload = vec![0xAB; len];
        let bytes = world.peer_sends(&user, peer(1, 5000), &payload).unwrap();
        let data = Parsed::read(&bytes);
        assert_eq!(data.kind, 0x0017);
        assert_eq!(data.address(XOR_PEER), peer(1, 5000));
        assert_eq!(data.get(DATA).unwrap(), payload);
        assert!(data.get(INTEGRITY).is_none());
        transactions.insert(data.transaction);
    }
    assert_eq!(transactions.len(), 9, "transaction ids are random");
}

#[test]
fn data_for_an_own_relayed_address_is_left_to_the_port_table() {
    let mut world = World::new();
    let mut one = User::ready(&mut world, 1, "a");
    let two = User::ready(&mut world, 2, "b");
    let to = world.relayed(&two);
    assert!(one.permit(&mut world, to.ip()).is_success());
    assert!(one.bind(&mut world, 0x4000, to).is_success());
    let send = one.request(SEND).peer(to).attr(DATA, b"x").bytes;
    for datagram in [send, channel_data(0x4000, b"x")] {
        let ClientVerdict::Relay { route, .. } = world.silent(&one.tuple, &datagram) else { panic!() };
        assert_eq!(route, Route::Own { or_socket: false });
    }
}

#[test]
fn what_does_not_fit_a_length_field_is_dropped_and_counted() {
    let mut world = World::new();
    let mut user = User::ready(&mut world, 1, "a");
    user.permit(&mut world, peer(1, 0).ip());
    let key = world.key(&user);
    for len in [65_520, 65_535, 65_536, 100_000] {
        let verdict = world.server.handle_peer(world.now, key, peer(1, 5000), len);
        assert_eq!(verdict, turnpike_proto::PeerVerdict::Drop(DropReason::TooLarge), "{len}");
    }
}
