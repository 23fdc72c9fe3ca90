use std::net::IpAddr;

use turnpike_proto::ClientVerdict;

use crate::{
    message::*,
    world::{User, World, config, peer},
};

#[test]
fn rule_70_a_permission_lives_300_seconds() {
    let mut world = World::new();
    let mut user = User::ready(&mut world, 1, "a");
    user.permit(&mut world, peer(1, 0).ip());
    let send = user.request(SEND).peer(peer(1, 5000)).attr(DATA, b"x").bytes;
    world.pass(299.999);
    assert!(world.peer_sends(&user, peer(1, 5000), b"x").is_some());
    assert!(matches!(world.silent(&user.tuple, &send), ClientVerdict::Relay { .. }));
    world.pass(0.001);
    assert!(world.peer_sends(&user, peer(1, 5000), b"x").is_none());
    assert!(matches!(world.silent(&user.tuple, &send), ClientVerdict::Drop(_)), "rule 80");
}

#[test]
fn rule_70_deviation_a_channel_keeps_its_permission_unless_strict() {
    for strict in [false, true] {
        let mut config = config();
        config.strict_permissions = strict;
        let mut world = World::with(config);
        let mut user = User::ready(&mut world, 1, "a");
        user.bind(&mut world, 0x4000, peer(1, 5000));
        world.pass(500.0);
        assert_eq!(world.peer_sends(&user, peer(1, 5000), b"x").is_some(), !strict);
        assert!(matches!(
            world.silent(&user.tuple, &channel_data(0x4000, b"x")),
            ClientVerdict::Relay { .. }
        ));
    }
}

#[test]
fn rule_71_a_permission_is_for_an_address_and_any_port() {
    let mut world = World::new();
    let mut user = User::ready(&mut world, 1, "a");
    user.permit(&mut world, peer(1, 0).ip());
    for port in [1, 1024, 65_535] {
        assert!(world.peer_sends(&user, peer(1, port), b"x").is_some());
    }
    assert!(world.peer_sends(&user, peer(2, 5000), b"x").is_none(), "rule 77");
}

#[test]
fn rule_72_a_missing_or_invalid_peer_installs_none() {
    let mut world = World::new();
    let mut user = User::ready(&mut world, 1, "a");
    let request = user.request(CREATE_PERMISSION);
    assert_eq!(user.ask(&mut world, request).code(), 400);
    for invalid in [&[][..], &[0, 1, 0, 0], &[0, 1, 0, 0, 1, 2, 3], &[0, 9, 0, 0, 1, 2, 3, 4]] {
        let request = user.request(CREATE_PERMISSION).peer(peer(1, 0)).attr(XOR_PEER, invalid);
        assert_eq!(user.ask(&mut world, request).code(), 400, "{invalid:?}");
    }
    assert!(world.peer_sends(&user, peer(1, 5000), b"x").is_none());
}

#[test]
fn rule_73_all_of_ten_addresses_are_installed() {
    let mut world = World::new();
    let mut user = User::ready(&mut world, 1, "a");
    let start = user.request(CREATE_PERMISSION);
    let request = (1..=10).fold(start, |request, last| request.peer(peer(last, 0)));
    assert!(user.ask(&mut world, request).is_success());
    for last in 1..=10 {
        assert!(world.peer_sends(&user, peer(last, 5000), b"x").is_some());
    }
}

#[test]
fn rule_74_another_family_is_a_443() {
    let mut world = World::new();
    let mut user = User::ready(&mut world, 1, "a");
    let v6: IpAddr = "2606:4700::1".parse().unwrap();
    assert_eq!(user.permit(&mut world, v6).code(), 443);
    assert_eq!(user.bind(&mut world, 0x4000, (v6, 5000).into()).code(), 443);
}

#[test]
fn rule_76_one_permission_too_many_is_a_508_and_changes_nothing() {
    let mut config = config();
    config.max_permissions = 3;
    let mut world = World::with(config);
    let mut user = User::ready(&mut world, 1, "a");
    for last in 1..=2 {
        assert!(user.permit(&mut world, peer(last, 0).ip()).is_success());
    }
    let request = user.request(CREATE_PERMISSION).peer(peer(3, 0)).peer(peer(4, 0));
    assert_eq!(user.ask(&mut world, request).code(), 508);
    assert!(world.peer_sends(&user, peer(3, 5000), b"x").is_none());
    let request = user.request(CREATE_PERMISSION).peer(peer(3, 0)).peer(peer(3, 9)).peer(peer(1, 0));
    assert!(user.ask(&mut world, request).is_success(), "repeated addresses count once");
    assert_eq!(user.bind(&mut world, 0x4000, peer(4, 5000)).code(), 508);
    world.pass(300.0);
    assert!(user.permit(&mut world, peer(9, 0).ip()).is_success(), "expired ones make room");
}

#[test]
fn rule_78_permissions_are_of_one_allocation() {
    let mut world = World::new();
    let mut one = User::ready(&mut world, 1, "a");
    let two = User::ready(&mut world, 2, "a");
    one.permit(&mut world, peer(1, 0).ip());
    assert!(world.peer_sends(&one, peer(1, 5000), b"x").is_some());
    assert!(world.peer_sends(&two, peer(1, 5000), b"x").is_none());
}

#[test]
fn rule_80_send_does_not_refresh_a_permission() {
    let mut world = World::new();
    let mut user = User::ready(&mut world, 1, "a");
    user.permit(&mut world, peer(1, 0).ip());
    let send = user.request(SEND).peer(peer(1, 5000)).attr(DATA, b"x").bytes;
    for _ in 0..3 {
        assert!(matches!(world.silent(&user.tuple, &send), ClientVerdict::Relay { .. }));
        world.pass(100.0);
    }
    assert!(matches!(world.silent(&user.tuple, &send), ClientVerdict::Drop(_)));
}
