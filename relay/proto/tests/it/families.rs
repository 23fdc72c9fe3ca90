//! Relayed addresses of IPv4, of IPv6, and of both in one allocation.

use std::time::Duration;

use turnpike_proto::{
    ByFamily, Cause, ClientVerdict, DropReason, Family, PeerVerdict, PortRequest, Transport,
};

use crate::{
    message::*,
    world::{User, World, config, peer, peer6, relay_ip},
};

const IPV4: (u16, &[u8]) = (FAMILY, &[1, 0, 0, 0]);
const IPV6: (u16, &[u8]) = (FAMILY, &[2, 0, 0, 0]);
const IPV6_BESIDES: (u16, &[u8]) = (SECOND_FAMILY, &[2, 0, 0, 0]);

/// A server without relayed addresses of one family.
fn without(family: Family) -> World {
    World::with(turnpike_proto::Config { families: ByFamily::from_fn(|f| f != family), ..config() })
}

fn only(family: Family) -> ByFamily<bool> {
    ByFamily::from_fn(|f| f == family)
}

/// A request of a user, signed.
fn refresh(user: &mut User, family: u8, lifetime: Option<u32>) -> Builder {
    let request = user.request(REFRESH).attr(FAMILY, &[family, 0, 0, 0]);
    lifetime.into_iter().fold(request, |request, seconds| request.u32(LIFETIME, seconds))
}

/// Whether data passes in both directions.
fn passes(world: &mut World, user: &mut User, peer: std::net::SocketAddr) -> bool {
    let send = user.request(SEND).peer(peer).attr(DATA, b"x").bytes;
    let out = matches!(world.silent(&user.tuple, &send), ClientVerdict::Relay { .. });
    assert_eq!(out, world.peer_sends(user, peer, b"x").is_some());
    out
}

#[test]
fn rule_54_without_a_word_the_family_is_ipv4_and_a_440_where_that_is_off() {
    let mut world = World::new();
    let answer = User::new(1, "a").allocate(&mut world);
    assert_eq!(answer.addresses(XOR_RELAYED).len(), 1);
    assert_eq!(answer.address(XOR_RELAYED).ip(), relay_ip(Family::Ipv4));
    assert_eq!(world.opened[0].families, only(Family::Ipv4));
    let mut world = without(Family::Ipv4);
    assert_eq!(User::new(1, "a").allocate(&mut world).code(), 440);
}

#[test]
fn rule_53_a_family_is_given_where_it_is_served_and_else_a_440() {
    for (family, asked) in [(Family::Ipv4, IPV4), (Family::Ipv6, IPV6)] {
        let mut world = World::new();
        let answer = User::new(1, "a").allocate_with(&mut world, &[asked]);
        assert_eq!(answer.addresses(XOR_RELAYED).len(), 1);
        assert_eq!(answer.address(XOR_RELAYED).ip(), relay_ip(family));
        assert_eq!(world.opened[0].families, only(family));
        let mut world = without(family);
        assert_eq!(User::new(1, "a").allocate_with(&mut world, &[asked]).code(), 440);
        assert!(world.opened.is_empty());
    }
    for number in [0, 3, 255] {
        let mut world = World::new();
        let asked: (u16, &[u8]) = (FAMILY, &[number, 0, 0, 0]);
        assert_eq!(User::new(1, "a").allocate_with(&mut world, &[asked]).code(), 440, "{number}");
    }
}

#[test]
fn rule_58_ipv6_besides_gives_two_addresses_and_nothing_else_can_be_asked_for_besides() {
    let mut world = World::new();
    let mut user = User::new(1, "a");
    user.challenge(&mut world);
    for number in [0, 1, 3, 255] {
        let request = user.request(ALLOCATE).udp().attr(SECOND_FAMILY, &[number, 0, 0, 0]);
        assert_eq!(user.ask(&mut world, request).code(), 400, "{number}");
    }
    let request = user.request(ALLOCATE).udp().attr(SECOND_FAMILY, &[2, 0, 0, 0]);
    let signed = user.sign(request);
    let answer = world.ask(&user.tuple, &signed);
    let relayed: Vec<_> = answer.addresses(XOR_RELAYED).iter().map(|address| address.ip()).collect();
    assert_eq!(relayed, [relay_ip(Family::Ipv4), relay_ip(Family::Ipv6)]);
    assert!(answer.get(ADDRESS_ERROR).is_none());
    assert_eq!(world.opened[0].families, ByFamily::from_fn(|_| true));
    assert_eq!(world.ask(&user.tuple, &signed), answer, "rule 22");
    assert_eq!(world.opened.len(), 1);
    assert_eq!(world.server.allocations().count(), 1, "one allocation");
}

#[test]
fn rule_58_where_one_of_two_cannot_be_had_the_other_is_given_with_the_reason() {
    for family in Family::ALL {
        let mut out_of_ports = World::new();
        out_of_ports.out_of_ports = Some(family);
        for (mut world, code) in [(without(family), 440), (out_of_ports, 508)] {
            let mut user = User::new(1, "a");
            let answer = user.allocate_with(&mut world, &[IPV6_BESIDES]);
            let other = if family == Family::Ipv4 { Family::Ipv6 } else { Family::Ipv4 };
            assert_eq!(answer.addresses(XOR_RELAYED).len(), 1);
            assert_eq!(answer.address(XOR_RELAYED).ip(), relay_ip(other));
            let error = answer.get(ADDRESS_ERROR).unwrap();
            let number = if family == Family::Ipv4 { 1 } else { 2 };
            assert_eq!(error[..4], [number, 0, (code / 100) as u8, (code % 100) as u8]);
            assert!(std::str::from_utf8(&error[4..]).is_ok_and(|reason| !reason.is_empty()));
            let answer = {
                let request = refresh(&mut user, number, None);
                user.ask(&mut world, request)
            };
            assert_eq!(answer.code(), 443);
        }
    }
}

#[test]
fn rule_50_a_token_gives_the_family_that_was_held() {
    for mut world in [World::new(), without(Family::Ipv4)] {
        let mut user = User::new(1, "a");
        let answer = user.allocate_with(&mut world, &[(TOKEN, &[9; 8])]);
        assert_eq!(answer.address(XOR_RELAYED).ip(), relay_ip(Family::Ipv6));
        assert!(answer.get(ADDRESS_ERROR).is_none());
        assert_eq!(world.opened[0].families, ByFamily::default());
        assert!(user.permit(&mut world, peer6(1, 0).ip()).is_success());
        assert_eq!(user.permit(&mut world, peer(1, 0).ip()).code(), 443);
    }
}

#[test]
fn rule_55_even_ports_may_be_of_two_families_but_no_pair_may() {
    let mut world = World::new();
    let answer = User::new(1, "a").allocate_with(&mut world, &[(EVEN_PORT, &[0x80]), IPV6_BESIDES]);
    assert_eq!(answer.code(), 400);
    let answer = User::new(2, "a").allocate_with(&mut world, &[(EVEN_PORT, &[0]), IPV6_BESIDES]);
    assert_eq!(answer.addresses(XOR_RELAYED).len(), 2);
    assert_eq!(world.opened[0].port, PortRequest::Even);
    let answer = User::new(3, "a").allocate_with(&mut world, &[(EVEN_PORT, &[0x80]), IPV6]);
    assert_eq!(answer.address(XOR_RELAYED).ip(), relay_ip(Family::Ipv6));
    assert_eq!(world.opened[1].port, PortRequest::EvenAndReserveNext);
}

#[test]
fn rule_74_peers_are_of_the_families_of_the_allocation() {
    let mut world = World::new();
    let mut v6 = User::new(1, "a");
    assert!(v6.allocate_with(&mut world, &[IPV6]).is_success());
    assert_eq!(v6.permit(&mut world, peer(1, 0).ip()).code(), 443);
    assert_eq!(v6.bind(&mut world, 0x4000, peer(1, 5000)).code(), 443);
    assert!(v6.permit(&mut world, peer6(1, 0).ip()).is_success());
    assert!(v6.bind(&mut world, 0x4000, peer6(2, 5000)).is_success());
    let send = v6.request(SEND).peer(peer(1, 5000)).attr(DATA, b"x").bytes;
    assert_eq!(world.silent(&v6.tuple, &send), ClientVerdict::Drop(DropReason::NoPermission));
    assert!(passes(&mut world, &mut v6, peer6(1, 5000)));

    let mut both = User::ready_for_both(&mut world, 2, "b");
    let peers = [peer(1, 0), peer6(1, 0)];
    let request = both.request(CREATE_PERMISSION);
    let request = peers.into_iter().fold(request, |request, peer| request.peer(peer));
    assert!(both.ask(&mut world, request).is_success());
    assert!(both.bind(&mut world, 0x4001, peer(2, 5000)).is_success());
    assert!(both.bind(&mut world, 0x4002, peer6(2, 5000)).is_success());
    for to in [peer(1, 5000), peer6(1, 5000), peer(2, 5000), peer6(2, 5000)] {
        assert!(passes(&mut world, &mut both, to), "{to}");
    }
}

#[test]
fn rule_82_an_ipv6_peer_comes_as_a_channel_or_an_indication() {
    let mut world = World::new();
    let mut user = User::ready_for_both(&mut world, 1, "a");
    user.permit(&mut world, peer6(1, 0).ip());
    let data = Parsed::read(&world.peer_sends(&user, peer6(1, 5000), b"x").unwrap());
    assert_eq!(data.address(XOR_PEER), peer6(1, 5000));
    assert_eq!(data.get(DATA).unwrap(), b"x");
    user.bind(&mut world, 0x4000, peer6(1, 5000));
    assert_eq!(world.peer_sends(&user, peer6(1, 5000), b"x").unwrap(), channel_data(0x4000, b"x"));
}

#[test]
fn rule_68_a_refresh_of_one_family_leaves_the_other_to_its_time() {
    let mut world = World::new();
    let mut user = User::ready_for_both(&mut world, 1, "a");
    let key = world.key(&user);
    assert!(user.permit(&mut world, peer(1, 0).ip()).is_success());
    world.pass(500.0);
    let request = refresh(&mut user, 2, Some(600));
    assert_eq!(user.ask(&mut world, request).u32(LIFETIME), 600);
    user.permit(&mut world, peer(1, 0).ip());
    user.permit(&mut world, peer6(1, 0).ip());
    world.pass(99.9);
    assert!(passes(&mut world, &mut user, peer(1, 5000)), "until its last moment");
    world.pass(0.2);
    assert!(!passes(&mut world, &mut user, peer(1, 5000)), "even before the sweep");
    assert_eq!(user.permit(&mut world, peer(1, 0).ip()).code(), 443);
    let request = refresh(&mut user, 1, Some(600));
    assert_eq!(user.ask(&mut world, request).code(), 443);
    assert!(passes(&mut world, &mut user, peer6(1, 5000)));
    assert!(world.closed_addresses.is_empty());
    world.tick();
    assert_eq!(world.closed_addresses, [(key, Family::Ipv4)]);
    let expires = world.server.allocation(key).unwrap().expires();
    assert_eq!(expires, Duration::from_secs(10 + 500 + 600));

    let request = user.request(REFRESH).u32(LIFETIME, 600);
    assert!(user.ask(&mut world, request).is_success(), "all that is left");
    assert_eq!(user.permit(&mut world, peer(1, 0).ip()).code(), 443, "what has ended does not come back");
    world.pass(600.0);
    world.tick();
    assert_eq!(world.closed_addresses.len(), 1, "told once");
    assert_eq!((world.closed.len(), world.closed[0].cause), (1, Cause::Expired));
    let relayed = ByFamily::from_fn(|family| world.closed[0].relayed[family].map(|address| address.ip()));
    assert_eq!(relayed, ByFamily::from_fn(|family| Some(relay_ip(family))), "both are in the record");
}

#[test]
fn rule_68_a_refresh_without_a_family_is_for_both() {
    let mut world = World::new();
    let mut user = User::ready_for_both(&mut world, 1, "a");
    world.pass(599.0);
    let request = user.request(REFRESH);
    assert!(user.ask(&mut world, request).is_success());
    world.pass(599.0);
    for to in [peer(1, 5000), peer6(1, 5000)] {
        user.permit(&mut world, to.ip());
        assert!(passes(&mut world, &mut user, to), "{to}");
    }
    let request = user.request(REFRESH).u32(LIFETIME, 0);
    assert_eq!(user.ask(&mut world, request).u32(LIFETIME), 0);
    assert_eq!(world.closed.len(), 1);
    assert!(world.closed_addresses.is_empty(), "it ends as a whole");
}

#[test]
fn rule_66_lifetime_0_ends_the_address_of_one_family_with_its_permissions_and_channels() {
    let mut world = World::new();
    let mut user = User::ready_for_both(&mut world, 1, "a");
    let key = world.key(&user);
    for to in [peer(1, 5000), peer6(1, 5000)] {
        user.permit(&mut world, to.ip());
    }
    user.bind(&mut world, 0x4000, peer(2, 5000));
    user.bind(&mut world, 0x4001, peer6(2, 5000));
    let request = refresh(&mut user, 2, Some(0));
    let signed = user.sign(request);
    assert_eq!(world.ask(&user.tuple, &signed).u32(LIFETIME), 0);
    assert_eq!(world.closed_addresses, [(key, Family::Ipv6)]);
    assert_eq!(world.ask(&user.tuple, &signed).code(), 443, "it is gone");
    let allocation = world.server.allocation(key).unwrap();
    assert_eq!((allocation.permissions(world.now.mono), allocation.channels(world.now.mono)), (2, 1));
    for (to, expected) in
        [(peer(1, 5000), true), (peer(2, 5000), true), (peer6(1, 5000), false), (peer6(2, 5000), false)]
    {
        assert_eq!(passes(&mut world, &mut user, to), expected, "{to}");
    }
    let dropped = world.silent(&user.tuple, &channel_data(0x4001, b"x"));
    assert_eq!(dropped, ClientVerdict::Drop(DropReason::NoChannel));
    assert!(matches!(world.silent(&user.tuple, &channel_data(0x4000, b"x")), ClientVerdict::Relay { .. }));
    assert_eq!(user.bind(&mut world, 0x4001, peer6(2, 5000)).code(), 443);
    assert!(user.bind(&mut world, 0x4001, peer(3, 5000)).is_success(), "its number is free");

    let request = refresh(&mut user, 1, Some(0));
    assert_eq!(user.ask(&mut world, request).u32(LIFETIME), 0);
    assert_eq!((world.closed.len(), world.closed[0].cause), (1, Cause::Client), "the last one ends all");
    assert_eq!(world.closed_addresses.len(), 1);
}

#[test]
fn limits_are_for_both_families_together() {
    let mut world = World::with(turnpike_proto::Config { max_permissions: 2, max_channels: 1, ..config() });
    let mut user = User::ready_for_both(&mut world, 1, "a");
    assert!(user.permit(&mut world, peer(1, 0).ip()).is_success());
    assert!(user.permit(&mut world, peer6(1, 0).ip()).is_success());
    assert_eq!(user.permit(&mut world, peer6(2, 0).ip()).code(), 508);
    assert!(user.bind(&mut world, 0x4000, peer6(1, 5000)).is_success());
    assert_eq!(user.bind(&mut world, 0x4001, peer(1, 5000)).code(), 508);
    let request = refresh(&mut user, 2, Some(0));
    user.ask(&mut world, request);
    assert!(user.bind(&mut world, 0x4001, peer(1, 5000)).is_success(), "the other's places are free");
    assert!(user.permit(&mut world, peer(2, 0).ip()).is_success());
}

#[test]
fn each_leg_is_counted_with_the_headers_of_its_own_family() {
    let mut world = World::new();
    let mut user = User::ready_for_both(&mut world, 1, "a");
    let key = world.key(&user);
    let start = world.server.allocation(key).unwrap().traffic();
    user.permit(&mut world, peer6(1, 0).ip());
    let before = world.server.allocation(key).unwrap().traffic();
    world.server.sent_to_peer(key, Family::Ipv6, 100);
    world.server.sent_to_peer(key, Family::Ipv4, 100);
    world.server.hairpinned(key, Family::Ipv6, 10);
    world.peer_sends(&user, peer6(1, 5000), &[0; 50]).unwrap();
    world.peer_sends(&user, peer(1, 5000), &[0; 50]);
    let after = world.server.allocation(key).unwrap().traffic();
    assert_eq!(after[Family::Ipv6].peer_out.bytes, 148 + 58);
    assert_eq!(after[Family::Ipv4].peer_out.bytes, 128);
    assert_eq!(after[Family::Ipv6].hairpin.bytes, 58);
    assert_eq!((after[Family::Ipv6].peer_in.bytes, after[Family::Ipv4].peer_in.bytes), (98, 78));
    let client_out = after[Family::Ipv4].client_out.bytes - before[Family::Ipv4].client_out.bytes;
    assert_eq!(client_out, 20 + 24 + 4 + 52 + 28, "an IPv6 peer's indication to a client of IPv4");
    assert_eq!(start[Family::Ipv6], turnpike_relay_api::admin::Traffic::default());

    let mut v6 = User::new(2, "b");
    v6.tuple.client = "[2a01:4f8::9]:40000".parse().unwrap();
    v6.tuple.server = "[2a01:4f8::1]:3478".parse().unwrap();
    assert!(v6.allocate(&mut world).is_success());
    let key = world.key(&v6);
    let before = world.server.allocation(key).unwrap().traffic();
    let request = v6.request(BINDING).bytes;
    let answer = world.ask(&v6.tuple, &request);
    assert_eq!(answer.address(XOR_MAPPED), v6.tuple.client, "rule 17");
    let after = world.server.allocation(key).unwrap().traffic();
    let v6_in = after[Family::Ipv6].client_in.bytes - before[Family::Ipv6].client_in.bytes;
    let v6_out = after[Family::Ipv6].client_out.bytes - before[Family::Ipv6].client_out.bytes;
    assert_eq!((v6_in, v6_out), (20 + 48, 44 + 48));
}

#[test]
fn data_between_two_clients_takes_the_relayed_address_of_its_family() {
    let mut world = World::new();
    let mut one = User::ready_for_both(&mut world, 1, "a");
    for ip in Family::ALL.map(relay_ip) {
        assert!(one.permit(&mut world, ip).is_success());
        let send = one.request(SEND).peer((ip, 50_000).into()).attr(DATA, b"x").bytes;
        let ClientVerdict::Relay { route, peer, .. } = world.silent(&one.tuple, &send) else { panic!() };
        assert_eq!(route, turnpike_proto::Route::Own { or_socket: false });
        assert_eq!(peer.ip(), ip);
    }
}

#[test]
fn rule_93_users_of_teredo_and_6to4_are_refused() {
    let mut world = World::new();
    for ip in ["2001:0:53aa:64c::1", "2002:c612:1::1"] {
        let mut user = User::new(1, "a");
        user.tuple.client = format!("[{ip}]:40000").parse().unwrap();
        for transport in [Transport::Udp, Transport::Tcp] {
            user.tuple.transport = transport;
            assert_eq!(user.allocate(&mut world).code(), 403, "{ip}");
        }
    }
    let mut user = User::new(1, "a");
    user.tuple.client = "[2001:1::1]:40000".parse().unwrap();
    assert!(user.allocate(&mut world).is_success());
    assert_eq!(world.opened.len(), 1);
    let mut user = User::ready_for_both(&mut world, 2, "b");
    for ip in ["2001:0:53aa:64c::1", "2002:c612:1::1"] {
        assert_eq!(user.permit(&mut world, ip.parse::<std::net::IpAddr>().unwrap()).code(), 403, "{ip}");
    }
}

#[test]
fn what_comes_to_an_address_that_ended_is_counted_and_dropped() {
    let mut world = World::new();
    let mut user = User::ready_for_both(&mut world, 1, "a");
    user.permit(&mut world, peer6(1, 0).ip());
    let request = refresh(&mut user, 2, Some(0));
    user.ask(&mut world, request);
    let key = world.key(&user);
    let verdict = world.server.handle_peer(world.now, key, peer6(1, 5000), 10);
    assert_eq!(verdict, PeerVerdict::Drop(DropReason::NoPermission));
    assert_eq!(world.server.allocation(key).unwrap().traffic()[Family::Ipv6].peer_in.packets, 1);
}
