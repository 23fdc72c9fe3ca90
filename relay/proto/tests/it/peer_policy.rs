use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use proptest::prelude::*;
use turnpike_proto::{ClientVerdict, Denied, DropReason, OwnAddresses, PeerPolicy, Route};

use crate::{
    message::*,
    world::{RELAY_IP, User, World, config, peer},
};

const DENIED: &[(&str, u8)] = &[
    ("0.0.0.0", 8),
    ("10.0.0.0", 8),
    ("100.64.0.0", 10),
    ("127.0.0.0", 8),
    ("169.254.0.0", 16),
    ("172.16.0.0", 12),
    ("192.0.0.0", 24),
    ("192.0.2.0", 24),
    ("192.31.196.0", 24),
    ("192.52.193.0", 24),
    ("192.88.99.0", 24),
    ("192.168.0.0", 16),
    ("192.175.48.0", 24),
    ("198.18.0.0", 15),
    ("198.51.100.0", 24),
    ("203.0.113.0", 24),
    ("224.0.0.0", 4),
    ("240.0.0.0", 4),
    ("168.63.129.16", 32),
];

/// The oracle: integer ranges, without prefixes or libraries.
fn oracle_v4(ip: u32) -> bool {
    !DENIED.iter().any(|(network, len)| {
        let first = u32::from(network.parse::<Ipv4Addr>().unwrap());
        let last = first + (u64::from(u32::MAX) >> len) as u32;
        (first..=last).contains(&ip)
    })
}

fn oracle(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(v4) => oracle_v4(v4.into()),
        IpAddr::V6(v6) => {
            let o = v6.octets();
            let unicast = o[0] >> 5 == 1;
            let teredo_and_orchid = o[0] == 0x20 && o[1] == 0x01 && o[2] < 2;
            let documentation =
                o[..4] == [0x20, 0x01, 0x0D, 0xB8] || (o[0] == 0x3F && o[1] == 0xFF && o[2] < 0x10);
            let six_to_four = o[..2] == [0x20, 0x02];
            let as112 = o[..6] == [0x26, 0x20, 0x00, 0x4F, 0x80, 0x00];
            let isatap = (o[8..10] == [0, 0] || o[8..10] == [2, 0]) && o[10..12] == [0x5E, 0xFE];
            let inner = u32::from_be_bytes([o[12], o[13], o[14], o[15]]);
            unicast
                && !teredo_and_orchid
                && !documentation
                && !six_to_four
                && !as112
                && (!isatap || oracle_v4(inner))
        }
    }
}

fn policy(allow: &[&str], deny: &[&str]) -> PeerPolicy {
    let parse = |list: &[&str]| list.iter().map(|n| n.parse().unwrap()).collect::<Vec<_>>();
    let own = OwnAddresses {
        relayed: vec![RELAY_IP.into()],
        others: vec![[10, 0, 0, 5].into()],
        listeners: vec![3478],
    };
    PeerPolicy::new(&parse(allow), &parse(deny), own, 1024)
}

/// An IPv4 address in every dress that reaches a lax filter.
fn dressed(ip: Ipv4Addr) -> Vec<Ipv6Addr> {
    let bits = u128::from(u32::from(ip));
    let mapped = |prefix: &str| Ipv6Addr::from(u128::from(prefix.parse::<Ipv6Addr>().unwrap()) | bits);
    vec![
        mapped("::ffff:0:0"),
        mapped("::"),
        mapped("64:ff9b::"),
        mapped("64:ff9b:1::"),
        mapped("2001:4860::5efe:0:0"),
        mapped("2001:4860::200:5efe:0:0"),
        Ipv6Addr::from(0x2002_u128 << 112 | bits << 80),
        Ipv6Addr::from(0x2001_0000_u128 << 96 | bits << 64),
        Ipv6Addr::from(0x2001_0000_u128 << 96 | u128::from(!u32::from(ip))),
    ]
}

#[test]
fn every_denied_prefix_is_closed_from_its_first_to_its_last_address_in_every_dress() {
    let policy = policy(&[], &[]);
    for (network, len) in DENIED {
        let first = u32::from(network.parse::<Ipv4Addr>().unwrap());
        let last = first + (u64::from(u32::MAX) >> len) as u32;
        for ip in [first, last] {
            let ip = Ipv4Addr::from(ip);
            assert_eq!(policy.judge(ip.into()), Err(Denied::BuiltIn), "{ip}");
            for v6 in dressed(ip) {
                assert!(policy.judge(v6.into()).is_err(), "{ip} as {v6}");
            }
        }
        for ip in [first.wrapping_sub(1), last.wrapping_add(1)] {
            let ip = Ipv4Addr::from(ip);
            assert_eq!(policy.judge(ip.into()).is_ok(), oracle(ip.into()), "{ip} beside {network}/{len}");
        }
    }
}

proptest! {
    #[test]
    fn the_policy_agrees_with_integer_ranges(v4: u32, v6: u128, low in 0x2000_u128..0x4000, tail: u128) {
        let policy = policy(&[], &[]);
        let unicast = low << 112 | tail >> 16;
        for ip in [IpAddr::from(Ipv4Addr::from(v4)), Ipv6Addr::from(v6).into(), Ipv6Addr::from(unicast).into()] {
            if ip != IpAddr::from(RELAY_IP) {
                prop_assert_eq!(policy.judge(ip).is_ok(), oracle(ip), "{}", ip);
            }
        }
    }
}

#[test]
fn the_longest_prefix_wins_and_deny_wins_a_tie() {
    let policy =
        policy(&["10.0.0.0/8", "10.2.3.0/24", "8.8.8.8/32", "::ffff:0:0/96"], &["10.2.0.0/16", "8.8.8.8/32"]);
    let cases = [
        ("10.1.0.1", Ok(())),
        ("10.2.0.1", Err(Denied::Configured)),
        ("10.2.3.4", Ok(())),
        ("8.8.8.8", Err(Denied::Configured)),
        ("8.8.4.4", Ok(())),
        ("127.0.0.1", Err(Denied::BuiltIn)),
        ("::ffff:127.0.0.1", Err(Denied::BuiltIn)),
        ("::ffff:8.8.4.4", Ok(())),
    ];
    for (ip, verdict) in cases {
        assert_eq!(policy.judge(ip.parse().unwrap()), verdict, "{ip}");
    }
}

#[test]
fn own_addresses_are_closed_but_where_relayed_addresses_live() {
    let relayed: IpAddr = RELAY_IP.into();
    let other: IpAddr = [10, 0, 0, 5].into();
    let closed = policy(&["10.0.0.0/8"], &[]);
    assert_eq!(closed.judge(relayed), Ok(()), "although its network is denied");
    assert_eq!(closed.route(relayed), Route::Own { or_socket: false });
    assert_eq!(closed.judge(other), Err(Denied::OwnAddress), "a network does not open it");
    assert_eq!(closed.judge_port((relayed, 3478).into()), Err(Denied::OwnAddress));
    let opened = policy(&["10.0.0.5/32"], &[]);
    assert_eq!(opened.judge(other), Ok(()));
    assert_eq!(opened.route(other), Route::Own { or_socket: true });
    assert_eq!(opened.judge_port((other, 3478).into()), Err(Denied::OwnAddress), "its listeners never");
    assert_eq!(opened.judge_port((other, 3479).into()), Ok(()));
}

#[test]
fn rule_75_a_denied_peer_is_a_403_and_gets_nothing() {
    let mut world = World::new();
    let mut user = User::ready(&mut world, 1, "a");
    for ip in [[127, 0, 0, 1], [169, 254, 169, 254], [10, 0, 0, 1], [203, 0, 114, 9], [0, 0, 0, 0]] {
        let target = (IpAddr::from(ip), 5000).into();
        assert_eq!(user.permit(&mut world, ip).code(), 403);
        assert_eq!(user.bind(&mut world, 0x4000, target).code(), 403);
        let send = user.request(SEND).peer(target).attr(DATA, b"x").bytes;
        assert_eq!(world.silent(&user.tuple, &send), ClientVerdict::Drop(DropReason::NoPermission));
    }
    let mapped: IpAddr = "::ffff:127.0.0.1".parse().unwrap();
    assert_eq!(user.permit(&mut world, mapped).code(), 443, "no IPv6 peer for an IPv4 allocation");
    assert_eq!(world.server.counters().peers_denied.get(Denied::OwnAddress), 2);
    assert_eq!(world.server.counters().peers_denied.get(Denied::BuiltIn), 8);
    assert_eq!(
        world.silent(&user.tuple, &channel_data(0x4000, b"x")),
        ClientVerdict::Drop(DropReason::NoChannel)
    );
}

#[test]
fn one_denied_address_among_many_installs_none() {
    let mut world = World::new();
    let mut user = User::ready(&mut world, 1, "a");
    let request = user.request(CREATE_PERMISSION).peer(peer(1, 0)).peer("127.0.0.1:1".parse().unwrap());
    assert_eq!(user.ask(&mut world, request).code(), 403);
    assert!(world.peer_sends(&user, peer(1, 5000), b"x").is_none());
}

#[test]
fn ports_count_at_channel_bind_and_send_but_not_at_create_permission() {
    let mut config = config();
    config.min_peer_port = 1024;
    let mut world = World::with(config);
    let mut user = User::ready(&mut world, 1, "a");
    let request = user.request(CREATE_PERMISSION).peer(peer(1, 53));
    assert!(user.ask(&mut world, request).is_success());
    for port in [0, 53, 1023] {
        assert_eq!(user.bind(&mut world, 0x4000, peer(1, port)).code(), 403);
        let send = user.request(SEND).peer(peer(1, port)).attr(DATA, b"x").bytes;
        assert_eq!(world.silent(&user.tuple, &send), ClientVerdict::Drop(DropReason::PeerPort));
    }
    assert!(user.bind(&mut world, 0x4000, peer(1, 1024)).is_success());
}
