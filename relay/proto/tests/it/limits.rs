use std::{hash::RandomState, net::SocketAddr, sync::Arc};

use turnpike_proto::{ClientVerdict, DropReason, SourceLimits, Transport};

use crate::{
    message::*,
    world::{User, World, config},
};

fn limited(unauthenticated: u32, binding: u32) -> World {
    let sources = Arc::new(SourceLimits::new(unauthenticated, binding, RandomState::new()));
    World::with(turnpike_proto::Config { sources, ..config() })
}

fn answers(world: &mut World, user: &User, datagram: &[u8], times: usize) -> usize {
    (0..times).map(|_| world.give(&user.tuple, datagram).1.len()).sum()
}

#[test]
fn who_shows_no_right_mac_is_answered_at_the_configured_rate_and_then_met_with_silence() {
    let mut world = limited(10, 0);
    let mut user = User::new(1, "a");
    let bare = user.request(ALLOCATE).udp().bytes;
    let incomplete = user.request(REFRESH).integrity(&user.key).bytes;
    let mut stranger = user.clone();
    stranger.key[0] ^= 1;
    let request = stranger.request(ALLOCATE).udp();
    let wrong = stranger.sign(request);
    for datagram in [&bare, &incomplete, &wrong] {
        world.pass(60.0);
        assert_eq!(answers(&mut world, &user, datagram, 50), 20);
        world.pass(1.0);
        assert_eq!(answers(&mut world, &user, datagram, 50), 10);
        assert_eq!(world.silent(&user.tuple, datagram), ClientVerdict::Drop(DropReason::UnauthenticatedRate));
    }
    let counters = world.server.counters();
    assert_eq!(counters.dropped.get(DropReason::UnauthenticatedRate), 3 * (30 + 40 + 1));
    assert_eq!(counters.unallocated_out.packets, 3 * 30);
}

#[test]
fn a_binding_has_a_rate_of_its_own() {
    let mut world = limited(10, 20);
    let mut user = User::new(1, "a");
    let (bare, binding) = (user.request(ALLOCATE).udp().bytes, user.request(BINDING).bytes);
    assert_eq!(answers(&mut world, &user, &binding, 90), 40);
    assert_eq!(world.silent(&user.tuple, &binding), ClientVerdict::Drop(DropReason::BindingRate));
    let unknown = user.request(BINDING).attr(0x7777, b"x").bytes;
    assert_eq!(world.silent(&user.tuple, &unknown), ClientVerdict::Drop(DropReason::BindingRate));
    assert_eq!(answers(&mut world, &user, &bare, 90), 20);
}

#[test]
fn who_has_a_right_credential_is_answered_whatever_his_source_was_refused() {
    let mut world = limited(10, 10);
    let mut user = User::new(1, "a");
    user.challenge(&mut world);
    let bare = user.request(ALLOCATE).udp().bytes;
    answers(&mut world, &user, &bare, 100);
    let request = user.request(ALLOCATE).udp();
    assert!(user.ask(&mut world, request).is_success());
    for _ in 0..100 {
        let request = user.request(REFRESH);
        assert!(user.ask(&mut world, request).is_success());
    }
    let request = user.request(ALLOCATE).udp();
    assert_eq!(user.ask(&mut world, request).code(), 437, "errors too");
}

#[test]
fn ports_of_one_source_share_its_rate_and_other_sources_have_their_own() {
    let mut world = limited(10, 0);
    let mut user = User::new(1, "a");
    let bare = user.request(ALLOCATE).udp().bytes;
    let mut total = 0;
    for port in 1024..1124 {
        user.tuple.client.set_port(port);
        total += answers(&mut world, &user, &bare, 1);
    }
    assert_eq!(total, 20);
    user.tuple.client = SocketAddr::from(([203, 0, 114, 2], 40_000));
    assert_eq!(answers(&mut world, &user, &bare, 100), 20);
}

#[test]
fn a_stream_has_proven_its_source_and_is_always_answered() {
    for transport in [Transport::Tcp, Transport::Tls] {
        let mut world = limited(1, 1);
        let mut user = User::new(1, "a");
        user.tuple.transport = transport;
        let (bare, binding) = (user.request(ALLOCATE).udp().bytes, user.request(BINDING).bytes);
        assert_eq!(answers(&mut world, &user, &bare, 500), 500);
        assert_eq!(answers(&mut world, &user, &binding, 500), 500);
    }
}
