//! Behind links and routers of network namespaces: from where answers leave, and what routers say.

use std::net::{SocketAddr, SocketAddrV6, UdpSocket};

use nix::sys::socket::{setsockopt, sockopt::UdpGsoSegment};
use turnpike_config::Config;

use crate::{
    client::channel_data,
    families::received,
    harness::{PATIENCE, Server, relay_address},
    metrics::until,
    network::Network,
    turn::{Heard, IPV6_BESIDES, Turn},
};

const PORT: u16 = 3478;
/// Datagrams of a burst, and bursts on each path.
const BURST: usize = 16;
const ROUNDS: u32 = 10;

fn ip<T: std::str::FromStr<Err: std::fmt::Debug>>(text: &str) -> T {
    text.parse().unwrap()
}

fn bound(address: SocketAddr) -> UdpSocket {
    let socket = UdpSocket::bind(address).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket
}

/// On any address of both families.
fn on_any(config: &mut Config) {
    config.relay.listen_udp = ["0.0.0.0", "::"].map(|any| SocketAddr::new(ip(any), PORT)).into();
    config.relay.relay_ipv4 = relay_address([0, 0, 0, 0], [198, 18, 1, 1]);
    config.relay.relay_ipv6 =
        relay_address(ip::<std::net::Ipv6Addr>("::"), ip::<std::net::Ipv6Addr>("2001:db8:1::1"));
}

/// A client of an address that asks, allocates and hears itself through the relay. A connected socket hears nobody but
/// the address that it asks.
fn serve(mut client: Turn) {
    assert_eq!(client.binding(), client.address());
    let [v4, v6] = client.allocated(&[IPV6_BESIDES]);
    assert_eq!(client.permit(&[v4, v6]), 0);
    for relayed in [v4, v6] {
        client.send(relayed, b"to myself");
        assert_eq!(client.hear(), Heard::Data(relayed, b"to myself".to_vec()));
    }
}

#[test]
fn a_multi_homed_relay_answers_from_the_address_that_was_asked_whichever_way_the_answer_goes() {
    let network = Network::new(&["relay", "client"]);
    for (nth, relay, client) in [(1, "a", "x"), (3, "b", "y")] {
        let relay_addresses = [format!("198.18.{nth}.1/24"), format!("2001:db8:{nth}::1/64")];
        let client_addresses = [format!("198.18.{nth}.2/24"), format!("2001:db8:{nth}::2/64")];
        let [relay_v4, relay_v6] = relay_addresses.each_ref().map(String::as_str);
        let [client_v4, client_v6] = client_addresses.each_ref().map(String::as_str);
        network.link(
            ("relay", relay, &[relay_v4, relay_v6, "fe80::1/64"]),
            ("client", client, &[client_v4, client_v6, "fe80::2/64"]),
            1500,
        );
    }
    network.block_on("relay", async {
        let server = Server::start(on_any);
        // Asked over one link, answered over the other: there the other address would be the obvious one.
        for (from, to) in [
            ("198.18.1.2", "198.18.3.1"),
            ("198.18.3.2", "198.18.1.1"),
            ("2001:db8:1::2", "2001:db8:3::1"),
            ("2001:db8:3::2", "2001:db8:1::1"),
            ("198.18.1.2", "198.18.1.1"),
            ("2001:db8:3::2", "2001:db8:3::1"),
        ] {
            let socket = network.inside("client", || bound(SocketAddr::new(ip(from), 0)));
            serve(Turn::over_udp(socket, SocketAddr::new(ip(to), PORT), "homes"));
        }
        server.stop().await;
    });
}

#[test]
fn clients_on_two_links_that_have_the_same_link_local_address_are_two_clients() {
    let network = Network::new(&["relay", "client"]);
    network.link(("relay", "a", &["fe80::1/64", "198.18.1.1/24"]), ("client", "x", &["fe80::2/64"]), 1500);
    network.link(("relay", "b", &["fe80::1/64", "2001:db8:1::1/64"]), ("client", "y", &["fe80::2/64"]), 1500);
    network.block_on("relay", async {
        let server = Server::start(on_any);
        let clients = network.inside("client", || {
            ["x", "y"].map(|interface| {
                let any = UdpSocket::bind("[::]:0").unwrap();
                let scope = rustix::net::netdevice::name_to_index(&any, interface).unwrap();
                let on_link =
                    |ip: &str, port| SocketAddr::from(SocketAddrV6::new(ip.parse().unwrap(), port, 0, scope));
                let socket = bound(on_link("fe80::2", 40_000));
                Turn::over_udp(socket, on_link("fe80::1", PORT), "link-local")
            })
        });
        for mut client in clients {
            let mapped = client.binding();
            assert_eq!((mapped.ip(), mapped.port()), (ip("fe80::2"), 40_000));
            let [v4, v6] = client.allocated(&[IPV6_BESIDES]);
            assert_eq!(client.permit(&[v4, v6]), 0);
            client.send(v6, b"to myself");
            assert_eq!(client.hear(), Heard::Data(v6, b"to myself".to_vec()));
        }
        assert_eq!(server.sessions().await.len(), 2);
        server.stop().await;
    });
}

/// A relay, a router, and peers behind a link of 1280 bytes. Client and relay are in one namespace.
fn behind_a_narrow_link() -> Network {
    let network = Network::new(&["relay", "router", "peer"]);
    network.link(
        ("relay", "up", &["198.18.1.1/24", "2001:db8:1::1/64", "fe80::1/64"]),
        ("router", "relay", &["198.18.1.254/24", "2001:db8:1::fe/64", "fe80::fe/64"]),
        1500,
    );
    network.link(
        ("router", "peer", &["198.18.2.254/24", "2001:db8:2::fe/64", "fe80::fe/64"]),
        ("peer", "up", &["198.18.2.2/24", "2001:db8:2::2/64", "fe80::2/64"]),
        1280,
    );
    network.forward("router");
    for (name, v4, v6) in
        [("relay", "198.18.1.254", "2001:db8:1::fe"), ("peer", "198.18.2.254", "2001:db8:2::fe")]
    {
        network.ip(name, &format!("route add default via {v4}"));
        network.ip(name, &format!("route add default via {v6}"));
    }
    network
}

fn relay_at_the_router(config: &mut Config) {
    let v6 = ip::<std::net::Ipv6Addr>("2001:db8:1::1");
    config.relay.relay_ipv4 = relay_address([198, 18, 1, 1], [198, 18, 1, 1]);
    config.relay.relay_ipv6 = relay_address(v6, v6);
    config.relay.allow_peers = ["198.18.0.0/16", "2001:db8::/32"].map(ip).into();
}

/// What a relayed address of each family meets behind the router.
struct Way {
    relayed: SocketAddr,
    peer: UdpSocket,
    address: SocketAddr,
    too_big: (u16, u16),
    nowhere: SocketAddr,
    no_route: (u16, u16),
}

fn ways(network: &Network, [v4, v6]: [SocketAddr; 2]) -> [Way; 2] {
    let way = |relayed, at: &str, too_big, nowhere: &str, no_route| {
        let peer = network.inside("peer", || bound(SocketAddr::new(ip(at), 0)));
        let address = peer.local_addr().unwrap();
        Way { relayed, peer, address, too_big, nowhere: SocketAddr::new(ip(nowhere), 5_000), no_route }
    };
    [
        way(v4, "198.18.2.2", (3, 4), "198.18.9.9", (3, 0)),
        way(v6, "2001:db8:2::2", (2, 0), "2001:db8:9::9", (1, 0)),
    ]
}

#[test]
fn what_may_not_be_fragmented_is_told_with_the_routers_mtu_and_all_else_arrives() {
    let network = behind_a_narrow_link();
    network.block_on("relay", async {
        let server = Server::start(relay_at_the_router);
        let mut client = Turn::new(server.address(), "narrow");
        let relayed: [SocketAddr; 2] = client.allocated(&[IPV6_BESIDES]);
        for Way { relayed, peer, address, too_big: (kind, code), .. } in ways(&network, relayed) {
            assert_eq!(client.permit(&[address]), 0);
            let headers = if address.is_ipv4() { 28 } else { 48 };
            let (fits, long) = (vec![1; 1_280 - headers], vec![2; 1_281 - headers]);
            client.send_whole(address, &long);
            assert_eq!(client.hear(), Heard::Icmp(address, kind, code, 1_280));
            client.send_whole(address, &fits);
            assert_eq!(received(&peer), (fits, relayed), "the first that arrives");
            // IPv4's router fragments, IPv6's has told the relay's host of its MTU.
            client.send(address, &long);
            assert_eq!(received(&peer), (long.clone(), relayed));
            client.send_whole(address, &long);
            assert_eq!(client.hear(), Heard::Icmp(address, kind, code, 1_280), "each time");
            client.bind(0x4000 + kind, address);
            client.send_on(0x4000 + kind, &long);
            assert_eq!(received(&peer), (long, relayed), "DF is of one datagram alone");
        }
        server.stop().await;
    });
}

/// Sends so many datagrams of a length from the client on a channel in one buffer, and hears each at the peer.
fn burst(client: &UdpSocket, number: u16, peer: &UdpSocket, len: usize) {
    let messages: Vec<Vec<u8>> = (0..BURST).map(|nth| channel_data(number, &vec![nth as u8; len])).collect();
    setsockopt(client, UdpGsoSegment, &((4 + len) as i32)).unwrap();
    client.send(&messages.concat()).unwrap();
    setsockopt(client, UdpGsoSegment, &0).unwrap();
    for message in messages {
        assert_eq!(received(peer).0, &message[4..]);
    }
}

#[test]
fn a_path_that_takes_no_runs_goes_on_without_them_and_the_others_go_on_with_them() {
    let network = Network::new(&["relay", "peer"]);
    for (nth, here, there, mtu) in
        [(1, "wide", "w", 1_500), (2, "narrow", "n", 1_280), (3, "tiny", "t", 1_280)]
    {
        let [relay, peer] = [1, 2].map(|end| {
            [format!("198.18.{nth}.{end}/24"), format!("2001:db8:{nth}::{end}/64"), format!("fe80::{end}/64")]
        });
        network.link(
            ("relay", here, &relay.each_ref().map(String::as_str)),
            ("peer", there, &peer.each_ref().map(String::as_str)),
            mtu,
        );
    }
    // Which ends IPv6 there.
    network.ip("relay", "link set dev tiny mtu 1000");
    network.ip("peer", "link set dev t mtu 1000");
    network.block_on("relay", async {
        let server = Server::start(|config| {
            on_any(config);
            config.relay.listen_udp = vec![SocketAddr::from(([127, 0, 0, 1], 0))];
            config.relay.allow_peers = ["198.18.0.0/16", "2001:db8::/32"].map(ip).into();
        });
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let mut client = Turn::over_udp(socket.try_clone().unwrap(), server.address(), "paths");
        let _: [SocketAddr; 2] = client.allocated(&[IPV6_BESIDES]);
        let addresses = ["198.18.1.2", "198.18.2.2", "198.18.3.2", "2001:db8:1::2", "2001:db8:2::2"];
        let peers = addresses.map(|at| network.inside("peer", || bound(SocketAddr::new(ip(at), 0))));
        for (number, peer) in (0x4000..).zip(&peers) {
            assert_eq!(client.bind(number, peer.local_addr().unwrap()), 0);
        }
        let [wide, narrow, tiny, wide_v6, narrow_v6] =
            [0, 1, 2, 3, 4].map(|nth| (0x4000 + nth as u16, &peers[nth]));
        let mut runs = 0;
        for _ in 0..ROUNDS {
            // The longest that is sent in runs over IPv4 fits both.
            for (number, peer) in [wide, narrow] {
                burst(&socket, number, peer, 1_252);
                runs += 1;
            }
            // Refused once: its datagrams arrive in fragments, as they would without runs.
            burst(&socket, tiny.0, tiny.1, 1_252);
            burst(&socket, narrow_v6.0, narrow_v6.1, 1_400);
            burst(&socket, wide_v6.0, wide_v6.1, 1_400);
            // What a router may have to fragment goes for itself.
            burst(&socket, narrow.0, narrow.1, 1_400);
            burst(&socket, wide.0, wide.1, 1_400);
            runs += 1;
        }
        until(&server, "turnpike_relay_segments_total{direction=\"out\"}", f64::from(runs) * BURST as f64)
            .await;
        until(&server, "turnpike_relay_segmented_buffers_total{direction=\"out\"}", f64::from(runs)).await;
        until(&server, "turnpike_relay_segmentation_refused_total", 2.0).await;
        let client = server.sessions().await.remove(0);
        assert_eq!(client.traffic.peer_out.packets, u64::from(ROUNDS) * 7 * BURST as u64);
        server.stop().await;
    });
}

#[test]
fn a_router_without_a_way_is_heard_and_hurts_no_other_peer() {
    let network = behind_a_narrow_link();
    network.block_on("relay", async {
        let server = Server::start(relay_at_the_router);
        let mut client = Turn::new(server.address(), "no-way");
        let relayed: [SocketAddr; 2] = client.allocated(&[IPV6_BESIDES]);
        for Way { relayed, peer, address, nowhere, no_route: (kind, code), .. } in ways(&network, relayed) {
            assert_eq!(client.permit(&[address, nowhere]), 0);
            client.send(nowhere, b"to nowhere");
            client.send(address, b"to a peer");
            assert_eq!(client.hear(), Heard::Icmp(nowhere, kind, code, 0));
            assert_eq!(received(&peer), (b"to a peer".to_vec(), relayed));
            peer.send_to(b"back", relayed).unwrap();
            assert_eq!(client.hear(), Heard::Data(address, b"back".to_vec()));
        }
        server.stop().await;
    });
}
