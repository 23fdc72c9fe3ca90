use turnpike_proto::{ClientVerdict, DropReason};

use crate::{
    message::*,
    world::{User, World, config, peer},
};

#[test]
fn rule_85_numbers_outside_the_range_are_a_400() {
    let mut world = World::new();
    let mut user = User::ready(&mut world, 1, "a");
    for number in [0, 0x3FFF, 0x5000, 0x7FFF, 0xFFFF] {
        assert_eq!(user.bind(&mut world, number, peer(1, 5000)).code(), 400, "{number:#x}");
    }
    assert!(user.bind(&mut world, 0x4000, peer(1, 5000)).is_success());
    assert!(user.bind(&mut world, 0x4FFF, peer(2, 5000)).is_success());
    let wide = world.silent(&user.tuple, &channel_data(0x5000, b"x"));
    assert_eq!(wide, ClientVerdict::Drop(DropReason::NotStun));
}

#[test]
fn rule_86_a_bind_without_number_or_peer_is_a_400() {
    let mut world = World::new();
    let mut user = User::ready(&mut world, 1, "a");
    for request in [
        user.request(CHANNEL_BIND),
        user.request(CHANNEL_BIND).channel(0x4000),
        user.request(CHANNEL_BIND).peer(peer(1, 5000)),
        user.request(CHANNEL_BIND).attr(CHANNEL_NUMBER, &[0x40]).peer(peer(1, 5000)),
        user.request(CHANNEL_BIND).channel(0x4000).attr(XOR_PEER, &[0, 1, 2]),
    ] {
        assert_eq!(user.ask(&mut world, request).code(), 400);
    }
}

#[test]
fn rule_87_a_number_and_an_address_belong_to_each_other() {
    let mut world = World::new();
    let mut user = User::ready(&mut world, 1, "a");
    assert!(user.bind(&mut world, 0x4000, peer(1, 5000)).is_success());
    assert_eq!(user.bind(&mut world, 0x4000, peer(1, 5001)).code(), 400);
    assert_eq!(user.bind(&mut world, 0x4001, peer(1, 5000)).code(), 400);
    assert!(user.bind(&mut world, 0x4000, peer(1, 5000)).is_success(), "the same pair is refreshed");
    assert!(user.bind(&mut world, 0x4001, peer(1, 5001)).is_success());
}

#[test]
fn rule_88_and_90_a_channel_lives_600_seconds_and_data_does_not_refresh_it() {
    let mut world = World::new();
    let mut user = User::new(1, "a");
    user.challenge(&mut world);
    let request = user.request(ALLOCATE).udp().u32(LIFETIME, 3600);
    user.ask(&mut world, request);
    user.bind(&mut world, 0x4000, peer(1, 5000));
    assert!(world.peer_sends(&user, peer(1, 5000), b"x").is_some(), "the permission comes with it");
    for _ in 0..6 {
        let verdict = world.silent(&user.tuple, &channel_data(0x4000, b"x"));
        assert!(
            matches!(verdict, ClientVerdict::Relay { .. }),
            "no permission is asked for in this direction"
        );
        world.pass(100.0);
    }
    assert_eq!(
        world.silent(&user.tuple, &channel_data(0x4000, b"x")),
        ClientVerdict::Drop(DropReason::NoChannel)
    );
    assert!(user.bind(&mut world, 0x4000, peer(2, 6000)).is_success(), "the number is free");
}

#[test]
fn rule_76_one_channel_too_many_is_a_508() {
    let mut config = config();
    config.max_channels = 2;
    let mut world = World::with(config);
    let mut user = User::ready(&mut world, 1, "a");
    assert!(user.bind(&mut world, 0x4000, peer(1, 5000)).is_success());
    assert!(user.bind(&mut world, 0x4001, peer(1, 5001)).is_success());
    assert_eq!(user.bind(&mut world, 0x4002, peer(1, 5002)).code(), 508);
    assert!(user.bind(&mut world, 0x4001, peer(1, 5001)).is_success(), "a refresh is no new one");
}

#[test]
fn rule_89_a_bound_peer_s_data_comes_as_channel_data() {
    let mut world = World::new();
    let mut user = User::ready(&mut world, 1, "a");
    user.bind(&mut world, 0x4003, peer(1, 5000));
    assert_eq!(world.peer_sends(&user, peer(1, 5000), b"hello").unwrap(), channel_data(0x4003, b"hello"));
    let other_port = world.peer_sends(&user, peer(1, 5001), b"hello").unwrap();
    assert_eq!(Parsed::read(&other_port).get(DATA).unwrap(), b"hello");
}

#[test]
fn rule_91_channel_data_must_fit_its_datagram() {
    let mut world = World::new();
    let mut user = User::ready(&mut world, 1, "a");
    user.bind(&mut world, 0x4000, peer(1, 5000));
    let whole = channel_data(0x4000, b"hello");
    for cut in 4..whole.len() {
        let verdict = world.silent(&user.tuple, &whole[..cut]);
        assert_eq!(verdict, ClientVerdict::Drop(DropReason::ChannelLength));
    }
    assert_eq!(world.silent(&user.tuple, &whole[..3]), ClientVerdict::Drop(DropReason::Malformed));
    let mut padded = whole.clone();
    padded.extend([0xAA; 3]);
    let ClientVerdict::Relay { payload, peer: to, .. } = world.silent(&user.tuple, &padded) else { panic!() };
    assert_eq!((&padded[payload], to), (b"hello".as_slice(), peer(1, 5000)));
    let ClientVerdict::Relay { payload, .. } = world.silent(&user.tuple, &channel_data(0x4000, b"")) else {
        panic!()
    };
    assert!(payload.is_empty());
}
