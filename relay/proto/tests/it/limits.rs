use std::{hash::RandomState, net::SocketAddr, sync::Arc};

use turnpike_proto::{
    ByteQuota, Cause, ClientVerdict, DropReason, RelayRefused, SharedBucket, SourceLimits, Transport,
};

use crate::{
    message::*,
    world::{User, World, config, peer},
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

/// Bytes that a payload of 972 counts with its IPv4 and UDP headers.
const COUNTED: u64 = 1_000;
const PAYLOAD: [u8; 972] = [7; 972];

/// A user with a channel to the peer of the same number.
fn caller(world: &mut World, host: u8, subject: &str) -> User {
    let mut user = User::ready(world, host, subject);
    assert!(user.bind(world, 0x4000, peer(host, 5000)).is_success());
    user
}

fn sends(world: &mut World, user: &User) -> bool {
    match world.give(&user.tuple, &channel_data(0x4000, &PAYLOAD)).0 {
        ClientVerdict::Relay { .. } => true,
        ClientVerdict::Drop(_) => false,
        other => panic!("{other:?}"),
    }
}

fn hears(world: &mut World, user: &User, host: u8) -> bool {
    world.peer_sends(user, peer(host, 5000), &PAYLOAD).is_some()
}

/// Sends and lets send in turn for so many seconds, 1,000 datagrams each way a second, and gives the bytes that passed.
fn both_ways(world: &mut World, user: &User, host: u8, seconds: u64) -> u64 {
    let mut passed = 0;
    for _ in 0..seconds * 1_000 {
        world.pass(0.001);
        passed += u64::from(sends(world, user)) + u64::from(hears(world, user, host));
    }
    passed * COUNTED
}

fn assert_near(bytes: u64, expected: u64) {
    assert!(bytes.abs_diff(expected) <= expected / 50 + 2 * COUNTED, "{bytes} bytes, {expected} expected");
}

#[test]
fn rule_94_an_allocation_above_its_rate_loses_the_excess_and_others_lose_nothing() {
    let mut world = World::with(turnpike_proto::Config { max_bitrate_per_allocation: 1_600_000, ..config() });
    let (loud, quiet) = (caller(&mut world, 1, "a"), caller(&mut world, 2, "a"));
    let mut quiet_lost = 0;
    let mut loud_passed = 0;
    for millisecond in 0..4_000 {
        world.pass(0.001);
        loud_passed += u64::from(sends(&mut world, &loud)) + u64::from(hears(&mut world, &loud, 1));
        if millisecond % 10 == 0 {
            quiet_lost += u64::from(!sends(&mut world, &quiet)) + u64::from(!hears(&mut world, &quiet, 2));
        }
    }
    assert_near(loud_passed * COUNTED, 200_000 * 9 / 2);
    assert_eq!(quiet_lost, 0, "at its rate");
    let dropped = world.server.counters().dropped.get(DropReason::AllocationBitrate);
    assert_eq!(dropped + loud_passed, 8_000, "every one is counted");
    assert_eq!(world.server.counters().dropped.total(), dropped);
}

#[test]
fn rule_94_a_subject_has_its_rate_once_however_many_allocations_and_servers_carry_it() {
    let bucket = Arc::new(SharedBucket::new(1_600_000));
    let mut total = 0;
    let mut worlds = [World::new(), World::new()];
    let mut callers = Vec::new();
    for world in &mut worlds {
        world.shares.subject = Some(Arc::clone(&bucket));
        callers.push([caller(world, 1, "a"), caller(world, 2, "a")]);
        world.shares.subject = None;
        callers.push([caller(world, 3, "b"), caller(world, 4, "c")]);
    }
    for _ in 0..4_000 {
        for (world, callers) in worlds.iter_mut().zip(callers.chunks(2)) {
            world.pass(0.001);
            total += callers[0].iter().map(|user| u64::from(sends(world, user))).sum::<u64>();
            assert!(callers[1].iter().all(|user| sends(world, user)), "others are not limited");
        }
    }
    // Each allocation may hold a slice.
    assert!((total * COUNTED).abs_diff(900_000) <= 20_000 + 4 * 2_000, "{total}");
    let dropped = |world: &World| world.server.counters().dropped.get(DropReason::SubjectBitrate);
    assert_eq!(total + worlds.iter().map(dropped).sum::<u64>(), 16_000);
}

#[test]
fn the_whole_node_has_a_rate_and_a_credential_the_one_in_its_name() {
    let total_bitrate = Some(Arc::new(SharedBucket::new(1_600_000)));
    let mut world = World::with(turnpike_proto::Config { total_bitrate, ..config() });
    let user = caller(&mut world, 1, "a");
    assert_near(both_ways(&mut world, &user, 1, 4), 900_000);
    assert!(world.server.counters().dropped.get(DropReason::TotalBitrate) > 7_000);

    let mut world = World::new();
    world.shares.credential = Some(Arc::new(SharedBucket::new(800_000)));
    let user = caller(&mut world, 1, "a:r800000");
    let asked = world.opened[0].credential.clone().unwrap();
    assert_eq!((asked.bits_per_second, asked.bytes), (Some(800_000), None));
    assert_eq!((&*asked.username, asked.expires_at), (user.name.as_str(), crate::world::UNIX + 600));
    assert_near(both_ways(&mut world, &user, 1, 4), 450_000);
    assert!(world.server.counters().dropped.get(DropReason::CredentialBitrate) > 7_000);
}

#[test]
fn what_one_limit_drops_is_not_taken_from_another() {
    let total_bitrate = Some(Arc::new(SharedBucket::new(8_000)));
    let limits = turnpike_proto::Config { total_bitrate, max_bitrate_per_allocation: 1_600_000, ..config() };
    let mut world = World::with(limits);
    let (one, two) = (caller(&mut world, 1, "a"), caller(&mut world, 2, "b"));
    world.give(&two.tuple, &channel_data(0x4000, &[7; 60_000]));
    for _ in 0..2_000 {
        world.pass(0.001);
        assert!(!sends(&mut world, &one));
    }
    let dropped = |reason| world.server.counters().dropped.get(reason);
    assert_eq!((dropped(DropReason::TotalBitrate), dropped(DropReason::AllocationBitrate)), (2_000, 0));
}

#[test]
fn strangers_spend_nothing_of_a_client() {
    let mut world = World::with(turnpike_proto::Config { max_bitrate_per_allocation: 80_000, ..config() });
    world.shares.bytes = Some(Arc::new(ByteQuota::new(10_000)));
    let user = caller(&mut world, 1, "a:b10000");
    for _ in 0..1_000 {
        assert!(!hears(&mut world, &user, 2), "without a permission");
        assert!(matches!(world.silent(&user.tuple, &channel_data(0x4001, b"x")), ClientVerdict::Drop(_)));
    }
    assert!(hears(&mut world, &user, 1) && sends(&mut world, &user));
}

#[test]
fn the_last_bytes_of_a_credential_are_relayed_and_then_all_of_its_allocations_end() {
    let quota = Arc::new(ByteQuota::new(10_000));
    let mut worlds = [World::new(), World::new()];
    let mut callers = Vec::new();
    for world in &mut worlds {
        world.shares.bytes = Some(Arc::clone(&quota));
        callers.push([caller(world, 1, "a:b10000"), caller(world, 2, "a:b10000")]);
        world.shares.bytes = None;
        caller(world, 3, "b");
    }
    let [[one, silent], [two, sender]] = [&callers[0], &callers[1]];
    for nth in 0..10 {
        let (world, user, host) = if nth < 6 { (0, one, 1) } else { (1, two, 1) };
        let passed = if nth % 2 == 0 {
            sends(&mut worlds[world], user)
        } else {
            hears(&mut worlds[world], user, host)
        };
        assert!(passed, "datagram {nth}");
    }
    worlds[1].tick();
    let closed = |world: &World| world.closed.iter().map(|closed| closed.cause).collect::<Vec<_>>();
    assert_eq!(closed(&worlds[1]), [Cause::Quota, Cause::Quota], "the one at once, the other by the sweep");
    assert_eq!(worlds[1].closed[0].traffic.total().peer_in.packets, 2);
    let mut sender = sender.clone();
    let request = sender.request(REFRESH);
    assert_eq!(sender.ask(&mut worlds[1], request).code(), 437);

    let world = &mut worlds[0];
    assert!(!sends(world, silent), "another has spent it");
    assert_eq!(world.server.counters().dropped.get(DropReason::ByteQuota), 1);
    world.pass(1.0);
    world.tick();
    assert_eq!(closed(world), [Cause::Quota, Cause::Quota]);
    assert_eq!(world.server.allocations().count(), 1, "another credential is not touched");

    world.refuse = Some(RelayRefused::ByteQuota);
    let mut late = User::new(9, "a:b10000");
    assert_eq!(late.allocate(world).code(), 486);
}

#[test]
fn a_cap_slows_live_and_new_allocations_down_and_is_taken_back() {
    let mut world = World::with(turnpike_proto::Config { max_bitrate_per_allocation: 1_600_000, ..config() });
    let old = caller(&mut world, 1, "old");
    world.server.cap_bitrate(80_000);
    let new = caller(&mut world, 2, "new");
    for (user, host) in [(&old, 1), (&new, 2)] {
        assert_near(both_ways(&mut world, user, host, 4), 45_000);
    }
    world.server.cap_bitrate(8_000_000);
    assert_near(both_ways(&mut world, &old, 1, 4), 900_000);
    world.server.cap_bitrate(0);
    world.pass(1.0);
    assert_near(both_ways(&mut world, &new, 2, 4), 900_000);

    let mut unlimited = World::new();
    let user = caller(&mut unlimited, 1, "a");
    unlimited.server.cap_bitrate(80_000);
    assert_near(both_ways(&mut unlimited, &user, 1, 4), 45_000);
    unlimited.server.cap_bitrate(0);
    assert_eq!(both_ways(&mut unlimited, &user, 1, 1), 2_000 * COUNTED);
}
