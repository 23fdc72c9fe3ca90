//! ICMP errors and DF on loopback.

use std::net::{SocketAddr, TcpStream};

use turnpike_turn_client::Connection;

use crate::{
    families::{both, peer, received},
    harness::Server,
    metrics,
    turn::{Heard, IPV6_BESIDES, Turn},
};

/// A loopback address where nobody listens.
fn closed(ip: &str) -> SocketAddr {
    peer(ip).local_addr().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_hears_of_a_closed_port_by_its_channel_as_well() {
    let server = Server::start(both);
    let mut client = Turn::new(server.address(), "closed-port");
    let _: [SocketAddr; 2] = client.allocated(&[IPV6_BESIDES]);
    for (number, ip, kind, code) in [(0x4000, "127.0.0.1", 3, 3), (0x4001, "::1", 1, 4)] {
        let nobody = closed(ip);
        assert_eq!(client.permit(&[nobody]), 0);
        client.send(nobody, b"by indication");
        assert_eq!(client.hear(), Heard::Icmp(nobody, kind, code, 0));
        assert_eq!(client.bind(number, nobody), 0);
        client.send_on(number, b"by channel");
        assert_eq!(client.hear(), Heard::Icmp(nobody, kind, code, 0));
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn errors_about_one_peer_lose_nothing_to_or_from_another() {
    const ROUNDS: usize = 200;
    let server = Server::start(both);
    for (ip, relayed_at) in [("127.0.0.1", 0), ("::1", 1)] {
        let mut client = Turn::new(server.address(), "lossless");
        let relayed: [SocketAddr; 2] = client.allocated(&[IPV6_BESIDES]);
        let (good, nobody) = (peer(ip), closed(ip));
        let address = good.local_addr().unwrap();
        assert_eq!(client.permit(&[address]), 0);
        for round in 0..ROUNDS as u16 {
            let payload = round.to_be_bytes();
            // The error about the first is pending when the others are sent, and when the answer comes.
            for (to, number) in [(nobody, 0), (address, 1), (nobody, 2), (address, 3)] {
                client.send(to, &[payload[0], payload[1], number]);
            }
            good.send_to(&payload, relayed[relayed_at]).unwrap();
            for number in [1, 3] {
                assert_eq!(received(&good).0, [payload[0], payload[1], number]);
            }
            let data = loop {
                match client.hear() {
                    Heard::Icmp(about, ..) => assert_eq!(about, nobody),
                    data => break data,
                }
            };
            assert_eq!(data, Heard::Data(address, payload.to_vec()));
        }
    }
    // Packets are counted over both families.
    let sent =
        "turnpike_relay_packets_total{leg=\"peer\",direction=\"out\",transport=\"udp\",datapath=\"user\"}";
    metrics::until(&server, sent, (8 * ROUNDS) as f64).await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_too_long_for_the_interface_and_may_not_be_fragmented_is_told_with_the_mtu() {
    let server = Server::start(both);
    let stream = TcpStream::connect(server.tcp_address()).unwrap();
    let mut client = Turn::over(Connection::from_tcp(stream), "long");
    let [_, v6] = client.allocated(&[IPV6_BESIDES]);
    let (one, other) = (peer("::1"), peer("::1"));
    let [first, second] = [&one, &other].map(|peer| peer.local_addr().unwrap());
    assert_eq!(client.permit(&[first, second]), 0);
    let long = vec![7; 65_489];
    client.send_whole(first, &long);
    assert_eq!(client.hear(), Heard::Icmp(first, 2, 0, 65_536));
    client.send_whole(second, &long[1..]);
    assert_eq!(received(&other), (long[1..].to_vec(), v6), "as long as the interface carries");
    client.send(first, &long);
    assert_eq!(received(&one), (long, v6), "in fragments");
    metrics::until(&server, "turnpike_relay_dropped_packets_total{reason=\"too_large\"}", 1.0).await;
    server.stop().await;
}
