use std::net::IpAddr;

use proptest::prelude::*;
use rand::{Rng as _, SeedableRng as _, rngs::SmallRng};
use turnpike_proto::{ClientVerdict, Config, Denied, DropReason, OwnAddresses, PeerPolicy, Route};

use crate::{
    message::*,
    oracle::{Address, IPV4, IPV6, Network, Oracle, denied, wrapped},
    world::{RELAY_IP, RELAY_IPV6, User, World, config, peer},
};

fn policy(allow: &[&str], deny: &[&str]) -> PeerPolicy {
    let parse = |list: &[&str]| list.iter().map(|n| n.parse().unwrap()).collect::<Vec<_>>();
    let own = OwnAddresses {
        relayed: vec![RELAY_IP.into()],
        others: vec![[10, 0, 0, 5].into()],
        listeners: vec![3478],
    };
    PeerPolicy::new(&parse(allow), &parse(deny), own, 1024)
}

/// Every denied range at its first and last address and the ones beside them.
fn edges() -> Vec<Address> {
    let ends = denied().flat_map(|(first, last)| [first, last]);
    let mut edges: Vec<Address> = ends.flat_map(|end| end.neighbours().chain([end])).collect();
    edges.sort_by_key(|address| (address.is_ipv4, address.bits));
    edges.dedup();
    edges
}

#[test]
fn every_denied_range_is_closed_from_its_first_to_its_last_address_in_every_dress() {
    let oracle = Oracle::default();
    let policy = oracle.policy();
    for address in denied().flat_map(|(first, last)| [first, last]) {
        assert_eq!(policy.judge(address.ip()), Err(Denied::BuiltIn), "{address:?}");
        for (dress, outer) in address.is_ipv4.then(|| address.dressed()).into_iter().flatten() {
            assert!(policy.judge(outer.ip()).is_err(), "{address:?} as {dress}: {outer:?}");
            // 0.0.0.0 would be ::, which stands for itself.
            assert!(outer.bits <= 1 || wrapped(outer).contains(&address), "{dress}");
        }
    }
    let open: Vec<Address> =
        edges().into_iter().filter(|address| policy.judge(address.ip()).is_ok()).collect();
    assert!(open.iter().all(|address| oracle.judge(*address).is_ok()));
    assert_eq!(open.len(), edges().iter().filter(|address| oracle.judge(**address).is_ok()).count());
    assert!(open.len() > 30, "most ranges have public neighbours: {open:?}");
}

/// Public addresses, drawn without the policy: IPv4 from the gaps between what is denied.
fn public(random: &mut SmallRng, gaps: &[(u32, u32)], gap_sizes: u32) -> [Address; 2] {
    let mut nth = random.random_range(0..gap_sizes);
    let gap = gaps.iter().find(|(first, last)| {
        let size = last - first + 1;
        let here = nth < size;
        nth -= if here { 0 } else { size };
        here
    });
    let v6 = loop {
        let bits = 1 << 125 | random.random::<u128>() >> 3;
        let cut_out = IPV6[3..].iter().any(|(first, last)| (*first..=*last).contains(&bits));
        if !cut_out && wrapped(Address::v6(bits)).is_empty() {
            break bits;
        }
    };
    [Address::v4(gap.expect("it is among them").0 + nth), Address::v6(v6)]
}

#[test]
fn a_million_random_public_addresses_are_all_let_through() {
    let mut gaps = Vec::new();
    let mut next = 0;
    for (first, last) in IPV4 {
        if first > next {
            gaps.push((next, first - 1));
        }
        next = last.saturating_add(1);
    }
    let gap_sizes = gaps.iter().map(|(first, last)| last - first + 1).sum();
    let mut random = SmallRng::seed_from_u64(0x7065_6572);
    let policy = Oracle::default().policy();
    for _ in 0..500_000 {
        for address in public(&mut random, &gaps, gap_sizes) {
            assert_eq!(policy.judge(address.ip()), Ok(()), "{address:?}");
        }
    }
}

/// An address that is near others: few of its bits are drawn.
fn address() -> impl Strategy<Value = Address> {
    let bases = edges();
    let near = (0..bases.len(), 0..128_u32, any::<bool>()).prop_map(move |(base, bit, flip)| {
        let base = bases[base];
        let bit = 1_u128.checked_shl(bit).unwrap_or(0) & base.highest();
        Address { bits: if flip { base.bits ^ bit } else { base.bits }, ..base }
    });
    let dressed = (any::<u32>(), 0..11_usize).prop_map(|(ip, dress)| Address::v4(ip).dressed()[dress].1);
    prop_oneof![near, dressed, any::<u32>().prop_map(Address::v4), any::<u128>().prop_map(Address::v6)]
}

/// Networks of every length around some addresses, so that they nest, meet and repeat.
fn networks(around: Vec<Address>) -> impl Strategy<Value = Vec<Network>> {
    let network = (0..around.len(), 0..=128_u8).prop_map(move |(at, prefix)| {
        let of = around[at];
        Network { of, prefix: if of.is_ipv4 { prefix % 33 } else { prefix } }
    });
    prop::collection::vec(network, 0..8)
}

fn setting() -> impl Strategy<Value = (Oracle, Vec<Address>)> {
    prop::collection::vec(address(), 1..6)
        .prop_flat_map(|around| {
            let some = prop::sample::subsequence(around.clone(), 0..=around.len());
            (networks(around.clone()), networks(around.clone()), some.clone(), some, Just(around))
        })
        .prop_map(|(allow, deny, relayed, others, around)| {
            let edges = allow.iter().chain(&deny).flat_map(|network| [network.first(), network.last()]);
            let mut probes: Vec<Address> = edges.chain(around).collect();
            let dressed = probes.iter().filter(|probe| probe.is_ipv4).flat_map(|probe| probe.dressed());
            let beside = probes.iter().flat_map(|probe| probe.neighbours());
            let more: Vec<Address> = dressed.map(|(_, outer)| outer).chain(beside).collect();
            probes.extend(more);
            (Oracle { allow, deny, relayed, others, listeners: vec![3478], min_port: 1024 }, probes)
        })
}

proptest! {
    #[test]
    fn random_addresses_are_judged_as_by_integer_ranges(v4: u32, v6: u128, global in 0_u128..1 << 125) {
        let (policy, oracle) = (Oracle::default().policy(), Oracle::default());
        for address in [Address::v4(v4), Address::v6(v6), Address::v6(1 << 125 | global)] {
            prop_assert_eq!(policy.judge(address.ip()), oracle.judge(address), "{:?}", address);
        }
    }

    #[test]
    fn any_lists_and_own_addresses_are_judged_as_by_integer_ranges((oracle, probes) in setting()) {
        let policy = oracle.policy();
        for address in probes {
            prop_assert_eq!(policy.judge(address.ip()), oracle.judge(address), "{:?}", address);
            for port in [0, 1023, 1024, 3478, 3479] {
                let verdict = policy.judge_port((address.ip(), port).into());
                prop_assert_eq!(verdict, oracle.judge_port(address, port), "{:?} port {}", address, port);
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
fn a_network_of_everything_opens_nothing_that_is_special() {
    let everything = ["0.0.0.0/0", "::/0"].map(|network| network.parse().unwrap());
    let policy = PeerPolicy::new(&everything, &[], OwnAddresses::default(), 1024);
    for address in edges() {
        assert_eq!(policy.judge(address.ip()), Oracle::default().judge(address), "{address:?}");
    }
    let local = PeerPolicy::new(&["fd00::/8".parse().unwrap()], &[], OwnAddresses::default(), 1024);
    assert_eq!(local.judge("fd00::1".parse().unwrap()), Ok(()), "a network by its name does");
}

#[test]
fn an_opened_tunnel_still_leads_to_public_addresses_only() {
    let policy = policy(&["64:ff9b::/96", "64:ff9b:1:808::/64", "2002::/16", "2001::/32"], &[]);
    let cases = [
        ("64:ff9b::8.8.8.8", Ok(())),
        ("64:ff9b::10.0.0.1", Err(Denied::BuiltIn)),
        ("2002:808:808::1", Ok(())),
        ("2002:a00:1::1", Err(Denied::BuiltIn)),
        // By the last 32 bits public, by the layout of a /64 it is 10.0.0.8.
        ("64:ff9b:1:808:a:0:808:808", Err(Denied::BuiltIn)),
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
    let through_nat64 = "64:ff9b::10.0.0.5".parse::<IpAddr>().unwrap();
    assert_eq!(opened.judge_port((through_nat64, 3478).into()), Err(Denied::OwnAddress), "nor by a detour");
}

#[test]
fn a_denied_network_around_the_node_keeps_its_users_together_and_a_denied_address_does_not() {
    let relayed: IpAddr = RELAY_IP.into();
    assert_eq!(policy(&[], &["198.51.100.0/24", "0.0.0.0/0"]).judge(relayed), Ok(()));
    assert_eq!(policy(&[], &["198.51.100.1/32"]).judge(relayed), Err(Denied::Configured));
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

/// How far a client gets by CreatePermission, ChannelBind and Send: answered codes (0 is success), and whether data
/// would be sent.
fn reached(world: &mut World, user: &mut User, channel: u16, ip: IpAddr) -> (u16, u16, bool) {
    let code = |answer: Parsed| if answer.is_success() { 0 } else { answer.code() };
    let target = (ip, 5000).into();
    let permitted = code(user.permit(world, ip));
    let bound = code(user.bind(world, channel, target));
    let send = user.request(SEND).peer(target).attr(DATA, b"x").bytes;
    let sent = [world.silent(&user.tuple, &send), world.silent(&user.tuple, &channel_data(channel, b"x"))];
    let sent = sent.map(|verdict| matches!(verdict, ClientVerdict::Relay { peer, .. } if peer == target));
    assert_eq!(sent[0], sent[1], "{ip}");
    (permitted, bound, sent[0])
}

#[test]
fn rule_75_no_edge_of_a_denied_range_is_reached_in_any_dress_by_any_method_and_its_public_neighbours_are() {
    let own = [RELAY_IP.into(), RELAY_IPV6.into()].map(|ip: IpAddr| Address::from(ip));
    let oracle = Oracle { relayed: own.into(), ..Oracle::default() };
    let mut world = World::with(Config { max_permissions: 1_000, max_channels: 1_000, ..config() });
    let mut user = User::ready_for_both(&mut world, 1, "a");
    let dressed = edges().into_iter().filter(|edge| edge.is_ipv4).flat_map(|edge| edge.dressed());
    let dressed: Vec<Address> = dressed.map(|(_, outer)| outer).collect();
    let mut open = 0;
    for (channel, address) in (0x4000..).zip(edges().into_iter().chain(dressed)) {
        let is_open = oracle.judge(address).is_ok();
        let expected = if is_open { (0, 0, true) } else { (403, 403, false) };
        assert_eq!(reached(&mut world, &mut user, channel, address.ip()), expected, "{address:?}");
        open += u32::from(is_open);
    }
    assert!(open > 90, "the public neighbours, and those in the dress of ISATAP: {open}");
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

#[test]
fn loopback_of_ipv6_opens_by_its_own_name_only() {
    for (allow, verdict) in [
        ("::/0", Err(Denied::BuiltIn)),
        ("::/3", Err(Denied::BuiltIn)),
        ("::/96", Err(Denied::BuiltIn)),
        ("::1/128", Ok(())),
    ] {
        assert_eq!(policy(&[allow], &[]).judge("::1".parse().unwrap()), verdict, "{allow}");
    }
    assert_eq!(policy(&["::/96"], &[]).judge("::127.0.0.1".parse().unwrap()), Err(Denied::BuiltIn));
}
