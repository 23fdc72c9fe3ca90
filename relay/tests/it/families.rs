//! Relayed addresses of IPv4 and IPv6 over real sockets.

use std::net::{IpAddr, Ipv6Addr, SocketAddr, TcpStream, UdpSocket};

use turnpike_config::Config;
use turnpike_relay_api::admin::{Flow, Session, Traffic};
use turnpike_turn_client::{Connection, attribute};

use crate::{
    harness::{PATIENCE, Server, relay_address},
    log, metrics,
    turn::{Heard, IPV4, IPV6, IPV6_BESIDES, Turn},
};

/// Listeners and relayed addresses of both families on loopback, whose ports are opened to clients.
pub(crate) fn both(config: &mut Config) {
    config.relay.listen_udp = ["127.0.0.1:0", "[::1]:0"].map(|address| address.parse().unwrap()).into();
    config.relay.relay_ipv6 = relay_address(Ipv6Addr::LOCALHOST, Ipv6Addr::LOCALHOST);
    config.relay.allow_peers = ["127.0.0.1/32", "::1/128"].map(|network| network.parse().unwrap()).into();
}

/// A peer on loopback.
pub(crate) fn peer(ip: &str) -> UdpSocket {
    let socket = UdpSocket::bind((ip, 0)).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket
}

pub(crate) fn received(socket: &UdpSocket) -> (Vec<u8>, SocketAddr) {
    let mut buffer = vec![0; 65_536];
    let (len, from) = socket.recv_from(&mut buffer).unwrap();
    buffer.truncate(len);
    (buffer, from)
}

async fn session(server: &Server, subject: &str) -> Session {
    server.sessions().await.into_iter().find(|session| session.subject == subject).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn one_allocation_relays_over_both_families_and_counts_each_by_its_headers() {
    let server = Server::start(both);
    for (nth, listener) in server.listening.udp.clone().into_iter().enumerate() {
        let subject = format!("dual-{nth}");
        let mut client = Turn::new(listener, &subject);
        let [v4, v6] = client.allocated(&[IPV6_BESIDES]);
        assert_eq!([v4.ip().to_string(), v6.ip().to_string()], ["127.0.0.1", "::1"]);
        let before = session(&server, &subject).await;
        assert_eq!((before.relayed, before.relayed_ipv6), (v4, Some(v6)));
        let mut expected = Traffic::default();
        for (number, relayed, ip, headers) in [(0x4000, v4, "127.0.0.1", 28), (0x4001, v6, "::1", 48)] {
            let peer = peer(ip);
            let address = peer.local_addr().unwrap();
            assert_eq!(client.bind(number, address), 0);
            client.send_on(number, b"by channel");
            assert_eq!(received(&peer), (b"by channel".to_vec(), relayed));
            client.send(address, b"by indication");
            assert_eq!(received(&peer), (b"by indication".to_vec(), relayed));
            peer.send_to(b"back", relayed).unwrap();
            assert_eq!(client.hear(), Heard::Channel(number, b"back".to_vec()));
            expected.peer_out.add(&Flow { packets: 2, bytes: 10 + 13 + 2 * headers });
            expected.peer_in.add(&Flow { packets: 1, bytes: 4 + headers });
        }
        let traffic = session(&server, &subject).await.traffic;
        assert_eq!((traffic.peer_out, traffic.peer_in), (expected.peer_out, expected.peer_in));
        assert_eq!(client.refresh(None, 0), 0);
        let closed = log::line("allocation closed", &subject).await;
        assert_eq!(closed["relayed"], format!("{v4},{v6}"));
        assert_eq!(closed["peer_out_bytes"], expected.peer_out.bytes);
    }
    // Two allocations, and each has sent two datagrams and heard one over each family; a client of one family has asked
    // for two channels and to end, and sent four datagrams.
    for (leg, direction, packets) in [("peer", "out", 8.0), ("peer", "in", 4.0), ("client", "in", 14.0)] {
        let labels = format!("leg=\"{leg}\",direction=\"{direction}\",transport=\"udp\",datapath=\"user\"");
        metrics::until(&server, &format!("turnpike_relay_packets_total{{{labels}}}"), packets).await;
    }
    for (family, headers) in [("ipv4", 28.0), ("ipv6", 48.0)] {
        for (direction, bytes) in [("out", 46.0 + 4.0 * headers), ("in", 8.0 + 2.0 * headers)] {
            let labels = format!(
                "leg=\"peer\",direction=\"{direction}\",transport=\"udp\",family=\"{family}\",datapath=\"user\""
            );
            metrics::until(&server, &format!("turnpike_relay_bytes_total{{{labels}}}"), bytes).await;
        }
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_over_tcp_may_have_both_as_well() {
    let server = Server::start(both);
    let stream = TcpStream::connect(server.tcp_address()).unwrap();
    let mut client = Turn::over(Connection::from_tcp(stream), "stream");
    let relayed: [SocketAddr; 2] = client.allocated(&[IPV6_BESIDES]);
    for (relayed, ip) in relayed.into_iter().zip(["127.0.0.1", "::1"]) {
        let peer = peer(ip);
        let address = peer.local_addr().unwrap();
        assert_eq!(client.permit(&[address]), 0);
        client.send(address, b"there");
        assert_eq!(received(&peer), (b"there".to_vec(), relayed));
        peer.send_to(b"back", relayed).unwrap();
        assert_eq!(client.hear(), Heard::Data(address, b"back".to_vec()));
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn lifetime_0_of_one_family_frees_its_port_at_once_and_leaves_the_other() {
    let server = Server::start(both);
    let mut client = Turn::new(server.address(), "halved");
    let [v4, v6] = client.allocated(&[IPV6_BESIDES]);
    assert!(UdpSocket::bind(v6).is_err(), "the port is bound");
    assert_eq!(client.refresh(Some(IPV6), 0), 0);
    drop(UdpSocket::bind(v6).expect("the port is free when the client hears of it"));
    metrics::until(&server, "turnpike_relay_ports_in_use{family=\"ipv6\"}", 0.0).await;
    metrics::until(&server, "turnpike_relay_ports_in_use{family=\"ipv4\"}", 1.0).await;
    assert_eq!(client.refresh(Some(IPV6), 600), 443);
    assert_eq!(client.permit(&["[::1]:1".parse().unwrap()]), 443);
    let peer = peer("127.0.0.1");
    assert_eq!(client.permit(&[peer.local_addr().unwrap()]), 0);
    client.send(peer.local_addr().unwrap(), b"still here");
    assert_eq!(received(&peer), (b"still here".to_vec(), v4));
    assert_eq!(client.refresh(Some(IPV4), 0), 0);
    drop(UdpSocket::bind(v4).unwrap());
    assert!(server.sessions().await.is_empty());
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn relay_to_relay_stays_in_process_over_both_families_and_never_changes_the_family() {
    let server = Server::start(|config| {
        both(config);
        config.relay.allow_peers.clear();
        config.relay.shards = 3;
        config.relay.relay_ipv6 = relay_address(Ipv6Addr::LOCALHOST, [0x2001, 0xdb8, 0, 0, 0, 0, 0, 1]);
    });
    let mut clients: Vec<(Turn, [SocketAddr; 2])> = (0..6)
        .map(|nth| {
            let mut client = Turn::new(server.listening.udp[nth % 2], "mesh");
            let relayed: [SocketAddr; 2] = client.allocated(&[IPV6_BESIDES]);
            assert_eq!(client.permit(&relayed), 0);
            (client, relayed)
        })
        .collect();
    let relayed: Vec<[SocketAddr; 2]> = clients.iter().map(|(_, relayed)| *relayed).collect();
    for sender in 0..clients.len() {
        for receiver in 0..clients.len() {
            for (from, to) in relayed[sender].into_iter().zip(relayed[receiver]) {
                clients[sender].0.send(to, b"in process");
                assert_eq!(clients[receiver].0.hear(), Heard::Data(from, b"in process".to_vec()));
            }
        }
    }
    let sent: u64 = server.sessions().await.iter().map(|session| session.traffic.hairpin.packets).sum();
    assert_eq!(sent, 6 * 6 * 2);
    // The port of one family is nobody's of the other, unless by chance.
    let [v4, v6] = relayed[0];
    let other = SocketAddr::new(v4.ip(), v6.port());
    if relayed.iter().all(|[v4, _]| *v4 != other) {
        clients[1].0.send(other, b"nobody");
        metrics::until(&server, "turnpike_relay_dropped_packets_total{reason=\"own_address\"}", 1.0).await;
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_of_one_family_refuses_the_other_or_gives_the_one_with_the_reason() {
    let server = Server::start(|config| {
        both(config);
        config.relay.relay_ipv4 = None;
    });
    let mut client = Turn::new(server.address(), "v6-only");
    assert_eq!(client.allocate(&[]).code(), 440);
    assert_eq!(client.allocate(&[IPV4]).code(), 440);
    let answer = client.allocate(&[IPV6_BESIDES]);
    assert!(answer.is_success());
    let [v6] = answer.xor_addresses(attribute::XOR_RELAYED_ADDRESS)[..] else { panic!() };
    assert!(v6.is_ipv6());
    assert_eq!(answer.value(attribute::ADDRESS_ERROR_CODE).unwrap()[..4], [1, 0, 4, 40]);
    let status = server.status().await;
    assert_eq!((status.advertised_ipv4.as_str(), status.advertised_ipv6.as_str()), ("", "::1"));
    server.stop().await;

    let server = Server::start(|_| {});
    let mut client = Turn::new(server.address(), "v4-only");
    assert_eq!(client.allocate(&[IPV6]).code(), 440);
    let answer = client.allocate(&[IPV6_BESIDES]);
    assert_eq!(answer.value(attribute::ADDRESS_ERROR_CODE).unwrap()[..4], [2, 0, 4, 40]);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn where_a_family_is_out_of_ports_the_other_is_given_with_the_reason() {
    let server = Server::start(|config| {
        both(config);
        config.relay.port_range = (16_500, 16_500);
    });
    let mut first = Turn::new(server.address(), "first");
    let [_] = first.allocated(&[IPV6]);
    let mut second = Turn::new(server.address(), "second");
    let answer = second.allocate(&[IPV6_BESIDES]);
    let relayed = answer.xor_addresses(attribute::XOR_RELAYED_ADDRESS);
    assert_eq!(relayed, ["127.0.0.1:16500".parse().unwrap()]);
    assert_eq!(answer.value(attribute::ADDRESS_ERROR_CODE).unwrap()[..4], [2, 0, 5, 8]);
    assert_eq!(Turn::new(server.address(), "third").allocate(&[IPV6_BESIDES]).code(), 508);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_even_port_of_ipv6_and_the_one_above_it_go_to_two_clients() {
    let server = Server::start(both);
    let mut even = Turn::new(server.address(), "even");
    let answer = even.allocate(&[(attribute::EVEN_PORT, &[0x80]), IPV6]);
    let first = answer.xor_address(attribute::XOR_RELAYED_ADDRESS).unwrap();
    assert!(first.is_ipv6() && first.port().is_multiple_of(2));
    let token = answer.value(attribute::RESERVATION_TOKEN).unwrap();
    let mut odd = Turn::new(server.address(), "odd");
    let [second] = odd.allocated(&[(attribute::RESERVATION_TOKEN, token)]);
    assert_eq!(second, SocketAddr::new(first.ip(), first.port() + 1));
    assert_eq!(odd.permit(&[first]), 0);
    assert_eq!(odd.permit(&["127.0.0.1:1".parse().unwrap()]), 443);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn own_ipv6_addresses_are_no_peers_but_where_relayed_ones_live() {
    let server = Server::start(|config| {
        both(config);
        config.relay.allow_peers.clear();
    });
    let listener = server.listening.udp[1];
    let mut client = Turn::new(listener, "own");
    let [_] = client.allocated(&[IPV6]);
    assert_eq!(client.bind(0x4000, listener), 403, "a listener");
    for ip in ["::", "fe80::1", "::ffff:127.0.0.1", "64:ff9b::7f00:1", "2002:7f00:1::1"] {
        assert_eq!(client.permit(&[SocketAddr::new(ip.parse::<IpAddr>().unwrap(), 0)]), 403, "{ip}");
    }
    assert_eq!(client.permit(&["[::1]:0".parse().unwrap()]), 0);
    let closed = peer("::1");
    client.send(closed.local_addr().unwrap(), b"to a port that is no relay's");
    metrics::until(&server, "turnpike_relay_dropped_packets_total{reason=\"own_address\"}", 1.0).await;
    server.stop().await;
}
