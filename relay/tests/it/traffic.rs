//! Client to peer and back: every byte arrives, and every byte is counted where it belongs.

use std::net::SocketAddr;

use tokio::net::UdpSocket;
use turnpike_relay_api::admin::{Flow, Traffic};

use crate::{
    client::{Arrival, Client},
    harness::{PATIENCE, Server, own_loopback_address},
    log,
};

/// A peer that the test itself plays.
struct Peer {
    socket: UdpSocket,
    sent: Flow,
    received: Flow,
}

impl Peer {
    async fn new(ip: std::net::Ipv4Addr) -> Self {
        let socket = UdpSocket::bind((ip, 0)).await.unwrap();
        Self { socket, sent: Flow::default(), received: Flow::default() }
    }

    fn address(&self) -> SocketAddr {
        self.socket.local_addr().unwrap()
    }

    async fn send(&mut self, to: SocketAddr, payload: &[u8]) {
        self.socket.send_to(payload, to).await.unwrap();
        count(&mut self.sent, payload.len());
    }

    async fn receive(&mut self) -> (SocketAddr, Vec<u8>) {
        let mut buffer = vec![0; 65_536];
        let received = tokio::time::timeout(PATIENCE, self.socket.recv_from(&mut buffer)).await;
        let (len, from) = received.expect("nothing arrives at the peer").unwrap();
        count(&mut self.received, len);
        buffer.truncate(len);
        (from, buffer)
    }
}

fn count(flow: &mut Flow, len: usize) {
    flow.packets += 1;
    flow.bytes += len as u64 + 28;
}

fn payload(len: usize, seed: u8) -> Vec<u8> {
    (0..len).map(|n| (n as u8).wrapping_mul(31).wrapping_add(seed)).collect()
}

/// Relays each length both ways by `send`, and gives what was counted.
async fn relay_both_ways(server: &Server, client: &mut Client, peer: &mut Peer, channel: Option<u16>) {
    for (nth, len) in [0, 1, 3, 4, 160, 1_200, 1_472, 9_000, 60_000].into_iter().enumerate() {
        let there = payload(len, nth as u8);
        match channel {
            Some(number) => client.send_channel(number, &there).await,
            None => client.send_indication(peer.address(), &there).await,
        }
        assert_eq!(peer.receive().await, (client.relayed, there));
        let back = payload(len, !(nth as u8));
        peer.send(client.relayed, &back).await;
        let expected = match channel {
            Some(number) => Arrival::Channel(number, back),
            None => Arrival::Data(peer.address(), back),
        };
        assert_eq!(client.arrival().await, expected);
    }
    let session = server.session(client.relayed).await;
    assert_eq!(session.traffic, expected_traffic(client, peer));
    assert_eq!((session.client, session.permissions), (client.address(), 1));
    assert_eq!(session.channels, usize::from(channel.is_some()));
}

fn expected_traffic(client: &Client, peer: &Peer) -> Traffic {
    Traffic {
        client_in: client.sent,
        client_out: client.received,
        peer_out: peer.received,
        peer_in: peer.sent,
        hairpin: Flow::default(),
    }
}

fn assert_log_agrees(line: &serde_json::Value, traffic: &Traffic) {
    let Traffic { client_in, client_out, peer_out, peer_in, hairpin } = traffic;
    for (name, flow) in [
        ("client_in", client_in),
        ("client_out", client_out),
        ("peer_out", peer_out),
        ("peer_in", peer_in),
        ("hairpin", hairpin),
    ] {
        assert_eq!(line[format!("{name}_bytes")], flow.bytes, "{name}: {line}");
        assert_eq!(line[format!("{name}_packets")], flow.packets, "{name}: {line}");
    }
}

#[tokio::test]
async fn a_channel_relays_both_ways_and_is_counted_to_the_byte() {
    let server = Server::start(|_| {});
    let mut client = Client::allocated(&server, "channel").await;
    let mut peer = Peer::new([127, 0, 0, 1].into()).await;
    client.bind(0x4001, peer.address()).await.unwrap();
    relay_both_ways(&server, &mut client, &mut peer, Some(0x4001)).await;

    client.refresh(0).await.unwrap();
    let opened = log::line("allocation opened", "channel").await;
    let closed = log::line("allocation closed", "channel").await;
    for line in [&opened, &closed] {
        assert_eq!(line["level"], "INFO");
        assert_eq!(line["client"], client.address().to_string());
        assert_eq!(line["relayed"], client.relayed.to_string());
        assert_eq!(line["id"].as_str().unwrap().len(), 22);
    }
    assert_eq!(opened["id"], closed["id"]);
    assert_eq!(closed["cause"], "client");
    assert!(closed["duration_seconds"].as_f64().unwrap() > 0.0);
    let traffic = expected_traffic(&client, &peer);
    assert_log_agrees(&closed, &traffic);

    assert!(server.sessions().await.is_empty());
    let summary = server.stop().await;
    assert_eq!((summary.allocations_created, summary.allocations_closed), (1, 1));
    assert_eq!(summary.traffic, traffic);
}

#[tokio::test]
async fn send_and_data_indications_relay_both_ways_and_are_counted_to_the_byte() {
    let server = Server::start(|_| {});
    let mut client = Client::allocated(&server, "indications").await;
    let mut peer = Peer::new([127, 0, 0, 1].into()).await;
    client.permit(&[peer.address().ip()]).await.unwrap();
    relay_both_ways(&server, &mut client, &mut peer, None).await;
    server.stop().await;
    let closed = log::line("allocation closed", "indications").await;
    assert_eq!(closed["cause"], "shutdown");
    assert_log_agrees(&closed, &expected_traffic(&client, &peer));
}

#[tokio::test]
async fn a_peer_elsewhere_is_reached_by_the_relay_socket_alone() {
    let elsewhere = own_loopback_address();
    let server = Server::start(|config| config.relay.allow_peers = vec!["127.0.0.0/8".parse().unwrap()]);
    let mut client = Client::allocated(&server, "elsewhere").await;
    let mut peer = Peer::new(elsewhere).await;
    client.bind(0x4FFF, peer.address()).await.unwrap();
    relay_both_ways(&server, &mut client, &mut peer, Some(0x4FFF)).await;
    server.stop().await;
}

#[tokio::test]
async fn a_burst_arrives_whole_and_in_order() {
    let server = Server::start(|_| {});
    let mut client = Client::allocated(&server, "burst").await;
    let mut peer = Peer::new([127, 0, 0, 1].into()).await;
    client.bind(0x4000, peer.address()).await.unwrap();
    for round in 0..20_u8 {
        for nth in 0..40_u8 {
            client.send_channel(0x4000, &[round, nth]).await;
            peer.send(client.relayed, &[nth, round]).await;
        }
        for nth in 0..40_u8 {
            assert_eq!(peer.receive().await.1, [round, nth]);
            assert_eq!(client.arrival().await, Arrival::Channel(0x4000, vec![nth, round]));
        }
    }
    assert_eq!(server.session(client.relayed).await.traffic, expected_traffic(&client, &peer));
    server.stop().await;
}

#[tokio::test]
async fn what_no_datagram_can_hold_is_dropped_and_counted() {
    let server = Server::start(|_| {});
    let mut client = Client::allocated(&server, "too-large").await;
    let mut peer = Peer::new([127, 0, 0, 1].into()).await;
    client.bind(0x4000, peer.address()).await.unwrap();
    peer.send(client.relayed, &payload(65_507, 0)).await;
    peer.send(client.relayed, &payload(65_503, 1)).await;
    assert_eq!(client.arrival().await, Arrival::Channel(0x4000, payload(65_503, 1)));
    let traffic = server.session(client.relayed).await.traffic;
    assert_eq!((traffic.peer_in, traffic.client_out), (peer.sent, client.received));
    crate::metrics::until(&server, "turnpike_relay_dropped_packets_total{reason=\"too_large\"}", 1.0).await;
    server.stop().await;
}

#[tokio::test]
async fn peers_without_permission_are_not_heard_but_counted() {
    let server = Server::start(|_| {});
    let mut client = Client::allocated(&server, "unheard").await;
    let mut peer = Peer::new([127, 0, 0, 1].into()).await;
    peer.send(client.relayed, b"who is there?").await;
    let dropped = "turnpike_relay_dropped_packets_total{reason=\"no_permission\"}";
    crate::metrics::until(&server, dropped, 1.0).await;
    client.permit(&[peer.address().ip()]).await.unwrap();
    peer.send(client.relayed, b"now").await;
    assert_eq!(client.arrival().await, Arrival::Data(peer.address(), b"now".to_vec()));
    assert_eq!(server.session(client.relayed).await.traffic.peer_in, peer.sent);
    server.stop().await;
}
