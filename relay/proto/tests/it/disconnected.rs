use std::net::SocketAddr;

use turnpike_proto::{ByFamily, Cause, ClientVerdict, Family, OpenedRelay, Output, RelayRefused, Transport};
use turnpike_relay_api::admin::Flow;

use crate::{
    message::*,
    world::{User, World},
};

fn over_tcp(host: u8) -> User {
    let mut user = User::new(host, "a");
    user.tuple.transport = Transport::Tcp;
    user
}

#[test]
fn the_end_of_a_connection_ends_its_allocation_at_once() {
    let mut world = World::new();
    let (mut gone, mut stays) = (over_tcp(1), over_tcp(2));
    assert!(gone.allocate(&mut world).is_success());
    assert!(stays.allocate(&mut world).is_success());
    world.server.handle_disconnected(world.now, &gone.tuple);
    assert_eq!(world.server.allocations().count(), 1);
    world.tick();
    assert_eq!(world.closed.len(), 1);
    assert_eq!((world.closed[0].cause, world.closed[0].five_tuple), (Cause::Lost, gone.tuple));
    assert_eq!(world.server.counters().allocations_closed.get(Cause::Lost), 1);
    world.server.handle_disconnected(world.now, &gone.tuple);
    world.tick();
    assert_eq!(world.closed.len(), 1, "closed exactly once");
    assert!(gone.allocate(&mut world).is_success(), "the five-tuple may come again");
}

#[test]
fn an_allocation_whose_time_had_come_has_expired_before_its_connection_ended() {
    let mut world = World::new();
    let mut user = over_tcp(1);
    assert!(user.allocate(&mut world).is_success());
    world.pass(600.0);
    world.server.handle_disconnected(world.now, &user.tuple);
    world.tick();
    assert_eq!(world.closed[0].cause, Cause::Expired);
}

fn refreshes(user: &mut User, world: &mut World) -> bool {
    let request = user.request(REFRESH);
    user.ask(world, request).is_success()
}

/// An Allocate whose connection ends before its relay socket is known, and the key of it.
fn lost_while_opening(world: &mut World, user: &mut User) -> turnpike_proto::AllocationKey {
    user.challenge(world);
    let request = user.request(ALLOCATE).udp();
    let signed = user.sign(request);
    let verdict = world.server.handle_client(world.now, &user.tuple, &signed, &mut Vec::new());
    assert_eq!(verdict, ClientVerdict::Handled);
    let Some(Output::OpenRelay { allocation, .. }) = world.server.poll_output() else { panic!() };
    world.server.handle_disconnected(world.now, &user.tuple);
    assert!(world.server.poll_output().is_none());
    allocation
}

#[test]
fn a_connection_that_ends_while_its_relay_socket_is_bound_leaves_nothing() {
    let mut world = World::new();
    let mut user = over_tcp(1);
    let first = lost_while_opening(&mut world, &mut user);
    assert!(user.allocate(&mut world).is_success(), "the five-tuple is free for the next connection");
    let relayed = SocketAddr::from(([198, 18, 0, 1], 60_000));
    let advertised = ByFamily::from_fn(|family| (family == Family::Ipv4).then_some(relayed));
    let opened = OpenedRelay { advertised, reservation: None, shares: Default::default() };
    world.server.handle_relay_opened(world.now, first, opened);
    let Some(Output::CloseRelay { allocation }) = world.server.poll_output() else { panic!() };
    assert_eq!(allocation, first);
    assert!(world.server.poll_output().is_none(), "nobody is there to be answered");
    assert_eq!(world.server.release(first).unwrap().cause, Cause::Lost);
    assert_eq!(world.server.allocations().count(), 1, "the second one lives");
    let counters = world.server.counters();
    assert_eq!(counters.allocations_created.get(Transport::Tcp), 2);
    assert_eq!(counters.allocations_closed.total(), 1);
}

#[test]
fn a_refusal_of_a_relay_socket_that_nobody_waits_for_is_not_sent() {
    let mut world = World::new();
    let mut user = over_tcp(1);
    let first = lost_while_opening(&mut world, &mut user);
    assert!(user.allocate(&mut world).is_success());
    world.server.handle_relay_failed(world.now, first, RelayRefused::NoPort);
    assert!(world.server.poll_output().is_none());
    assert_eq!(world.server.allocations().count(), 1);
    assert!(refreshes(&mut user, &mut world), "the second one is still found by its five-tuple");
}

#[test]
fn bytes_of_streams_are_counted_as_the_driver_tells_them_and_messages_are_not() {
    let mut world = World::new();
    let mut user = over_tcp(1);
    assert!(user.allocate(&mut world).is_success());
    let key = world.key(&user);
    let before = world.server.allocation(key).unwrap().traffic().total();
    assert_eq!(before.client_in, Flow::default());
    assert!(refreshes(&mut user, &mut world));
    let client = user.tuple.client.ip();
    world.server.stream_received(Some(key), client, 1_000, 0);
    world.server.stream_received(Some(key), client, 0, 2);
    world.server.stream_sent(Some(key), client, 70, 3);
    world.server.stream_received(None, client, 5, 1);
    let traffic = world.server.allocation(key).unwrap().traffic().total();
    assert_eq!(traffic.client_in, Flow { bytes: 1_080, packets: 2 });
    assert_eq!(world.server.counters().unallocated_in, Flow { bytes: 45, packets: 1 });
    let v6 = "[2001:db8::1]:1".parse::<SocketAddr>().unwrap().ip();
    world.server.stream_sent(None, v6, 1, 1);
    world.server.handle_disconnected(world.now, &user.tuple);
    let closed = world.server.release(key).unwrap();
    assert_eq!(closed.traffic.total().client_in, traffic.client_in);
    let unallocated_out = world.server.counters().unallocated_out.bytes;
    world.server.stream_sent(Some(key), client, 9, 0);
    let counters = world.server.counters();
    assert_eq!(
        counters.unallocated_out.bytes,
        unallocated_out + 9,
        "an ended allocation has no bytes to come"
    );
}
