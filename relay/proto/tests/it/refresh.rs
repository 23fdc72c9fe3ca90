use turnpike_proto::Cause;

use crate::{
    message::*,
    world::{User, World, peer},
};

#[test]
fn rule_66_lifetime_0_ends_the_allocation_at_once() {
    let mut world = World::new();
    let mut user = User::ready(&mut world, 1, "a");
    let request = user.request(REFRESH).u32(LIFETIME, 0);
    let signed = user.sign(request);
    let answer = world.ask(&user.tuple, &signed);
    assert_eq!(answer.u32(LIFETIME), 0);
    assert_eq!(world.closed.len(), 1);
    assert_eq!(world.closed[0].cause, Cause::Client);
    assert_eq!(world.ask(&user.tuple, &signed).code(), 437, "rule 22: a repeated Refresh 0 may get 437");
    let request = user.request(ALLOCATE).udp();
    assert!(user.ask(&mut world, request).is_success(), "the five-tuple is free");
}

#[test]
fn rule_68_another_family_is_a_443() {
    let mut world = World::new();
    let mut user = User::ready(&mut world, 1, "a");
    let request = user.request(REFRESH).attr(FAMILY, &[2, 0, 0, 0]);
    assert_eq!(user.ask(&mut world, request).code(), 443);
    let request = user.request(REFRESH).attr(FAMILY, &[1, 0, 0, 0]);
    assert!(user.ask(&mut world, request).is_success());
}

#[test]
fn rule_69_data_does_not_refresh_an_allocation() {
    let mut world = World::new();
    let mut user = User::ready(&mut world, 1, "a");
    user.bind(&mut world, 0x4000, peer(1, 5000));
    world.pass(299.0);
    user.bind(&mut world, 0x4000, peer(1, 5000));
    world.pass(300.9);
    world.silent(&user.tuple, &channel_data(0x4000, b"x"));
    world.tick();
    assert_eq!(world.server.allocations().count(), 1, "until its last moment");
    world.pass(1.0);
    world.tick();
    assert_eq!(world.closed.len(), 1);
    assert_eq!(world.closed[0].cause, Cause::Expired);
    assert_eq!((world.closed[0].closed - world.closed[0].opened).as_secs(), 600);
}

#[test]
fn an_expired_allocation_serves_nobody_even_before_the_sweep() {
    let mut world = World::new();
    let mut user = User::ready(&mut world, 1, "a");
    user.permit(&mut world, peer(1, 0).ip());
    world.pass(600.0);
    let key = world.key(&user);
    let verdict = world.server.handle_peer(world.now, key, peer(1, 5000), 1);
    assert!(matches!(verdict, turnpike_proto::PeerVerdict::Drop(_)));
    let request = user.request(REFRESH);
    assert_eq!(world.ask(&user.tuple, &user.sign(request)).code(), 437);
    assert_eq!(world.closed.len(), 1);
}

#[test]
fn close_all_ends_every_allocation_once() {
    let mut world = World::new();
    for host in 0..10 {
        User::ready(&mut world, host, "a");
    }
    world.server.close_all(world.now, Cause::Shutdown);
    world.server.close_all(world.now, Cause::Shutdown);
    world.tick();
    assert_eq!(world.closed.len(), 10);
    assert_eq!(world.server.counters().allocations_closed.get(Cause::Shutdown), 10);
}
