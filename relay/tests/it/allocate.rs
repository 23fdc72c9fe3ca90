//! Ports, reservations and limits, over the wire.

use std::{collections::HashSet, net::SocketAddr};

use turnpike_relay_api::credential::Limits;

use crate::{
    client::{Arrival, Ask, Client},
    harness::{Server, credential, own_loopback_address, relay_address},
};

const EVEN: Ask = Ask { even_port: Some(false), token: None };
const EVEN_AND_NEXT: Ask = Ask { even_port: Some(true), token: None };

async fn client(server: &Server, subject: &str) -> Client {
    Client::new(server.address(), credential(subject, &Limits::default())).await
}

#[tokio::test]
async fn the_port_above_an_even_one_goes_to_another_client_with_its_token() {
    let server = Server::start(|config| config.relay.shards = 4);
    for _ in 0..8 {
        let mut even = client(&server, "even").await;
        even.allocate(EVEN_AND_NEXT).await.unwrap();
        assert!(even.relayed.port().is_multiple_of(2));
        let with_token = Ask { even_port: None, token: even.token };
        let mut odd = client(&server, "odd").await;
        odd.allocate(with_token).await.unwrap();
        assert_eq!(odd.relayed, SocketAddr::new(even.relayed.ip(), even.relayed.port() + 1));
        let mut late = client(&server, "late").await;
        assert_eq!(late.allocate(with_token).await, Err(508));
        odd.refresh(0).await.unwrap();
        assert_eq!(late.allocate(with_token).await, Err(508));
    }
    server.stop().await;
}

#[tokio::test]
async fn a_client_address_has_as_many_allocations_as_it_may_over_all_shards_and_subjects() {
    let server = Server::start(|config| {
        config.relay.shards = 4;
        config.relay.max_allocations_per_ip = 5;
    });
    let mut held = Vec::new();
    for nth in 0..5 {
        held.push(Client::allocated(&server, &format!("user-{nth}")).await);
    }
    for nth in 0..8 {
        assert_eq!(client(&server, &format!("late-{nth}")).await.allocate(Ask::default()).await, Err(486));
    }
    held[0].refresh(0).await.unwrap();
    client(&server, "next").await.allocate(Ask::default()).await.unwrap();
    server.stop().await;
}

#[tokio::test]
async fn even_port_alone_reserves_nothing() {
    let server = Server::start(|config| {
        config.relay.relay_ipv4 = relay_address(own_loopback_address(), [127, 0, 0, 1]);
        config.relay.port_range = (16_000, 16_003);
    });
    for _ in 0..100 {
        let mut even = client(&server, "even").await;
        even.allocate(EVEN).await.unwrap();
        assert!(even.relayed.port().is_multiple_of(2));
        assert_eq!(even.token, None);
        even.refresh(0).await.unwrap();
    }
    let mut all = Vec::new();
    for _ in 0..4 {
        let mut any = client(&server, "all").await;
        any.allocate(Ask::default()).await.unwrap();
        all.push(any);
    }
    server.stop().await;
}

#[tokio::test]
async fn every_port_of_the_range_is_given_once_and_then_508() {
    let server = Server::start(|config| {
        config.relay.relay_ipv4 = relay_address(own_loopback_address(), [127, 0, 0, 1]);
        config.relay.port_range = (16_100, 16_103);
        config.relay.shards = 2;
    });
    let mut held = Vec::new();
    for _ in 0..4 {
        let mut one = client(&server, "ports").await;
        one.allocate(Ask::default()).await.unwrap();
        held.push(one);
    }
    let ports: HashSet<u16> = held.iter().map(|client| client.relayed.port()).collect();
    assert_eq!(ports, (16_100..=16_103).collect());
    let mut fifth = client(&server, "ports").await;
    assert_eq!(fifth.allocate(Ask::default()).await, Err(508));
    crate::metrics::until(&server, "turnpike_allocation_failures_total{code=\"508\"}", 1.0).await;
    crate::metrics::until(&server, "turnpike_relay_ports_in_use{family=\"ipv4\"}", 4.0).await;

    let free = held[2].relayed;
    held[2].refresh(0).await.unwrap();
    fifth.allocate(Ask::default()).await.unwrap();
    assert_eq!(fifth.relayed, free);
    server.stop().await;
}

#[tokio::test]
async fn a_subject_has_its_quota_over_all_shards() {
    let server = Server::start(|config| {
        config.relay.max_allocations_per_subject = 3;
        config.relay.shards = 4;
    });
    let mut held = Vec::new();
    for _ in 0..3 {
        held.push(Client::allocated(&server, "quota").await);
    }
    let mut fourth = client(&server, "quota").await;
    assert_eq!(fourth.allocate(Ask::default()).await, Err(486));
    Client::allocated(&server, "another").await;
    crate::metrics::until(&server, "turnpike_allocation_failures_total{code=\"486\"}", 1.0).await;
    // Whoever is told that an allocation has ended finds its place free, on another shard as well.
    held.insert(0, fourth);
    for _ in 0..200 {
        held[1].refresh(0).await.unwrap();
        held[0].allocate(Ask::default()).await.unwrap();
        held.swap(0, 1);
    }
    server.stop().await;
}

#[tokio::test]
async fn the_limit_signed_into_a_username_holds_where_it_is_lower() {
    let server = Server::start(|config| config.relay.max_allocations_per_subject = 3);
    let one_only = credential("limited", &Limits { allocations: Some(1), ..Limits::default() });
    let mut first = Client::new(server.address(), one_only.clone()).await;
    first.allocate(Ask::default()).await.unwrap();
    let mut second = Client::new(server.address(), one_only).await;
    assert_eq!(second.allocate(Ask::default()).await, Err(486));
    server.stop().await;
}

#[tokio::test]
async fn the_node_has_its_limit() {
    let server = Server::start(|config| config.relay.max_allocations = 2);
    let (_one, _two) = (Client::allocated(&server, "a").await, Client::allocated(&server, "b").await);
    assert_eq!(client(&server, "c").await.allocate(Ask::default()).await, Err(508));
    server.stop().await;
}

#[tokio::test]
async fn answers_and_data_leave_from_the_address_that_was_asked() {
    let server = Server::start(|config| config.relay.listen_udp = vec!["0.0.0.0:0".parse().unwrap()]);
    let port = server.address().port();
    for ip in ["127.0.0.2", "127.0.0.1", "127.33.44.55"] {
        // A connected socket receives from its peer only.
        let to = SocketAddr::new(ip.parse().unwrap(), port);
        let mut client = Client::new(to, credential("source", &Limits::default())).await;
        assert_eq!(client.binding().await, client.address());
        client.allocate(Ask::default()).await.unwrap();
        client.permit(&[client.relayed.ip()]).await.unwrap();
        client.send_indication(client.relayed, b"to myself").await;
        assert_eq!(client.arrival().await, Arrival::Data(client.relayed, b"to myself".to_vec()));
    }
    server.stop().await;
}

#[tokio::test]
async fn both_families_are_bound_apart_on_one_port() {
    let port = std::net::UdpSocket::bind("[::]:0").unwrap().local_addr().unwrap().port();
    let both = ["0.0.0.0", "::"].map(|ip| SocketAddr::new(ip.parse().unwrap(), port));
    let server = Server::start(|config| config.relay.listen_udp = both.into());
    for ip in ["127.0.0.1", "::1"] {
        let to = SocketAddr::new(ip.parse().unwrap(), port);
        let mut client = Client::new(to, credential("apart", &Limits::default())).await;
        let mapped = client.binding().await;
        assert_eq!(mapped, client.address(), "an IPv4 client is not taken for a mapped one of IPv6");
    }
    assert_eq!(server.status().await.listen_udp, both);
    server.stop().await;
}

#[tokio::test]
async fn a_client_of_ipv6_is_served() {
    let server = Server::start(|config| config.relay.listen_udp = vec!["[::]:0".parse().unwrap()]);
    let to = SocketAddr::new("::1".parse().unwrap(), server.address().port());
    let mut client = Client::new(to, credential("ipv6", &Limits::default())).await;
    assert_eq!(client.binding().await, client.address());
    client.allocate(Ask::default()).await.unwrap();
    crate::metrics::until(&server, "turnpike_allocations{transport=\"udp\",family=\"ipv6\"}", 1.0).await;
    server.stop().await;
}

#[tokio::test]
async fn the_ports_that_this_node_listens_on_are_no_peers() {
    let server = Server::start(|_| {});
    let mut client = Client::allocated(&server, "listener").await;
    assert_eq!(client.bind(0x4000, server.address()).await, Err(403));
    server.stop().await;
}

#[tokio::test]
async fn a_static_user_is_let_in() {
    let server = Server::start(|_| {});
    let user = turnpike_relay_api::credential::Credential {
        username: "static".to_owned(),
        password: "word".to_owned().into(),
        expires_at: 0,
    };
    Client::new(server.address(), user).await.allocate(Ask::default()).await.unwrap();
    assert_eq!(server.sessions().await[0].subject, "static");
    server.stop().await;
}
