//! Relay to relay within one process.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use turnpike_relay_api::admin::Flow;

use crate::{
    client::{Arrival, Client},
    harness::{Server, own_loopback_address, relay_address},
};

/// Two clients that may reach each other's relayed addresses.
async fn pair(server: &Server, subject: &str) -> (Client, Client) {
    let mut one = Client::allocated(server, subject).await;
    let mut two = Client::allocated(server, subject).await;
    one.permit(&[two.relayed.ip()]).await.unwrap();
    two.bind(0x4002, one.relayed).await.unwrap();
    (one, two)
}

/// Sends both ways and checks what arrives, from whom, and all counters.
async fn exchange(server: &Server, one: &mut Client, two: &mut Client, rounds: usize) {
    let mut payloads = Flow::default();
    for round in 0..rounds {
        let payload = vec![round as u8; round * 7];
        payloads.packets += 1;
        payloads.bytes += payload.len() as u64 + 28;
        one.send_indication(two.relayed, &payload).await;
        assert_eq!(two.arrival().await, Arrival::Channel(0x4002, payload.clone()));
        two.send_channel(0x4002, &payload).await;
        assert_eq!(one.arrival().await, Arrival::Data(two.relayed, payload));
    }
    for client in [one, two] {
        let traffic = server.session(client.relayed).await.traffic;
        assert_eq!((traffic.client_in, traffic.client_out), (client.sent, client.received));
        assert_eq!((traffic.peer_in, traffic.peer_out), (payloads, payloads));
        assert_eq!(traffic.hairpin, payloads, "all of it stays in this process");
    }
}

#[tokio::test]
async fn two_clients_of_one_shard_reach_each_other_in_process() {
    let server = Server::start(|config| config.relay.allow_peers.clear());
    let (mut one, mut two) = pair(&server, "hairpin").await;
    exchange(&server, &mut one, &mut two, 50).await;
    server.stop().await;
}

#[tokio::test]
async fn clients_of_four_shards_all_reach_each_other_in_process() {
    let server = Server::start(|config| config.relay.shards = 4);
    let mut clients = Vec::new();
    for _ in 0..12 {
        let mut client = Client::allocated(&server, "mesh").await;
        client.permit(&[client.relayed.ip()]).await.unwrap();
        clients.push(client);
    }
    // 12 clients on 4 shards: some pair shares a shard, and all on one is a chance of one in four millions.
    let relayed: Vec<SocketAddr> = clients.iter().map(|client| client.relayed).collect();
    for sender in 0..clients.len() {
        for (receiver, to) in relayed.iter().enumerate() {
            for nth in 0..8 {
                clients[sender].send_indication(*to, &[sender as u8, receiver as u8, nth]).await;
            }
        }
        for (receiver, client) in clients.iter_mut().enumerate() {
            for nth in 0..8 {
                let expected = Arrival::Data(relayed[sender], vec![sender as u8, receiver as u8, nth]);
                assert_eq!(client.arrival().await, expected);
            }
        }
    }
    let payloads = Flow { packets: 8 * 12, bytes: 8 * 12 * (3 + 28) };
    for client in &clients {
        let traffic = server.session(client.relayed).await.traffic;
        assert_eq!((traffic.client_in, traffic.client_out), (client.sent, client.received));
        assert_eq!((traffic.peer_out, traffic.peer_in, traffic.hairpin), (payloads, payloads, payloads));
    }
    server.stop().await;
}

#[tokio::test]
async fn a_payload_wakes_the_shard_that_it_goes_to() {
    let server = Server::start(|config| config.relay.shards = 4);
    let mut clients = Vec::new();
    for _ in 0..12 {
        let mut client = Client::allocated(&server, "sleepers").await;
        client.permit(&[client.relayed.ip()]).await.unwrap();
        clients.push(client);
    }
    // Unwoken, a shard sleeps up to a second; some 100 of these pairs cross shards.
    let start = Instant::now();
    for sender in 0..clients.len() {
        for receiver in 0..clients.len() {
            let (from, to) = (clients[sender].relayed, clients[receiver].relayed);
            clients[sender].send_indication(to, b"wake").await;
            assert_eq!(clients[receiver].arrival().await, Arrival::Data(from, b"wake".to_vec()));
        }
    }
    assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
    server.stop().await;
}

#[tokio::test]
async fn large_payloads_cross_shards() {
    let server = Server::start(|config| config.relay.shards = 4);
    let (mut one, mut two) = pair(&server, "large").await;
    for len in [2_000, 5_000, 65_000, 100] {
        // A new client each time: some of them live on another shard.
        let mut third = Client::allocated(&server, "large").await;
        third.permit(&[two.relayed.ip()]).await.unwrap();
        two.permit(&[third.relayed.ip()]).await.unwrap();
        third.send_indication(two.relayed, &vec![7; len]).await;
        assert_eq!(two.arrival().await, Arrival::Data(third.relayed, vec![7; len]));
        one.send_indication(two.relayed, &vec![8; len]).await;
        assert_eq!(two.arrival().await, Arrival::Channel(0x4002, vec![8; len]));
    }
    server.stop().await;
}

#[tokio::test]
async fn behind_one_to_one_nat_nothing_goes_out_to_the_public_address() {
    let server = Server::start(|config| {
        config.relay.relay_ipv4 = relay_address(own_loopback_address(), [198, 18, 0, 1]);
        config.relay.shards = 2;
    });
    let (mut one, mut two) = pair(&server, "nat").await;
    assert_eq!(one.relayed.ip().to_string(), "198.18.0.1");
    exchange(&server, &mut one, &mut two, 50).await;

    // The address that the socket is bound on names the same allocation, whose peer still is the advertised one.
    let bound = SocketAddr::new(own_loopback_address().into(), two.relayed.port());
    one.permit(&[bound.ip()]).await.unwrap();
    one.send_indication(bound, b"by the bound address").await;
    assert_eq!(two.arrival().await, Arrival::Channel(0x4002, b"by the bound address".to_vec()));

    let before = server.session(one.relayed).await.traffic.peer_out;
    let nobody = SocketAddr::new(one.relayed.ip(), free_port(&[one.relayed.port(), two.relayed.port()]));
    one.send_indication(nobody, b"nobody is there").await;
    crate::metrics::until(&server, "turnpike_relay_dropped_packets_total{reason=\"own_address\"}", 1.0).await;
    assert_eq!(server.session(one.relayed).await.traffic.peer_out, before, "nothing was sent for it");
    server.stop().await;
}

fn free_port(taken: &[u16]) -> u16 {
    (20_000..).find(|port| !taken.contains(port)).unwrap()
}

#[tokio::test]
async fn relay_sockets_on_any_address_are_reached_in_process_as_well() {
    let server =
        Server::start(|config| config.relay.relay_ipv4 = relay_address([0, 0, 0, 0], [127, 0, 0, 1]));
    let (mut one, mut two) = pair(&server, "on-any").await;
    exchange(&server, &mut one, &mut two, 10).await;
    server.stop().await;
}

#[tokio::test]
async fn permission_holds_between_two_clients_of_one_relay() {
    let server = Server::start(|_| {});
    let mut one = Client::allocated(&server, "strangers").await;
    let mut two = Client::allocated(&server, "strangers").await;
    one.permit(&[two.relayed.ip()]).await.unwrap();
    one.send_indication(two.relayed, b"unwanted").await;
    crate::metrics::until(&server, "turnpike_relay_dropped_packets_total{reason=\"no_permission\"}", 1.0)
        .await;
    assert_eq!(two.arrival_within(Duration::ZERO).await, None);
    let unwanted = Flow { packets: 1, bytes: 8 + 28 };
    assert_eq!(server.session(one.relayed).await.traffic.hairpin, unwanted);
    let traffic = server.session(two.relayed).await.traffic;
    assert_eq!((traffic.peer_in, traffic.client_out), (unwanted, two.received));
    server.stop().await;
}

#[tokio::test]
async fn an_ended_allocation_is_reached_by_nobody() {
    let server = Server::start(|config| config.relay.allow_peers.clear());
    let (mut one, mut two) = pair(&server, "ended").await;
    two.refresh(0).await.unwrap();
    one.send_indication(two.relayed, b"too late").await;
    crate::metrics::until(&server, "turnpike_relay_dropped_packets_total{reason=\"own_address\"}", 1.0).await;
    assert_eq!(two.arrival_within(Duration::ZERO).await, None);
    server.stop().await;
}
