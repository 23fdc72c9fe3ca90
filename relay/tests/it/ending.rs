//! Drain and stop: every allocation is closed, counted and logged.

use std::time::{Duration, Instant};

use turnpike_relay_api::admin::{DRAIN, Status, UNDRAIN};

use crate::{
    client::{Arrival, Ask, Client},
    harness::{PATIENCE, Server, credential},
    log,
};

async fn until_draining(server: &Server) {
    let wait = async {
        while server.page("/readyz").await.status != 503 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, wait).await.expect("it does not drain");
}

#[tokio::test]
async fn a_drain_refuses_new_allocations_and_serves_the_live_ones_to_their_end() {
    let server = Server::start(|config| config.relay.shards = 2);
    let mut live = Client::allocated(&server, "drained").await;
    live.permit(&[live.relayed.ip()]).await.unwrap();
    assert_eq!(server.page("/readyz").await.ok(), "ready\n");
    server.drain();
    until_draining(&server).await;
    assert_eq!(server.page("/readyz").await.body, "draining\n");
    assert_eq!(server.page("/healthz").await.status, 200);
    assert!(server.status().await.draining);
    for _ in 0..8 {
        let mut late = Client::new(server.address(), credential("late", &Default::default())).await;
        assert_eq!(late.allocate(Ask::default()).await, Err(508));
    }
    live.refresh(600).await.unwrap();
    live.send_indication(live.relayed, b"still here").await;
    assert_eq!(live.arrival().await, Arrival::Data(live.relayed, b"still here".to_vec()));
    live.refresh(0).await.unwrap();
    let summary = server.ended().await;
    assert_eq!((summary.allocations_created, summary.allocations_closed), (1, 1));
    assert_eq!(log::line("allocation closed", "drained").await["cause"], "client");
}

#[tokio::test]
async fn a_drain_by_the_admin_socket_shows_at_once_and_can_be_taken_back() {
    let server = Server::start(|config| config.relay.shards = 4);
    let mut live = Client::allocated(&server, "kept").await;
    for _ in 0..3 {
        let status: Status = server.post(DRAIN, "").await;
        assert!(status.draining);
        assert_eq!(server.page("/readyz").await.status, 503);
        for _ in 0..8 {
            let mut late = Client::new(server.address(), credential("late", &Default::default())).await;
            assert_eq!(late.allocate(Ask::default()).await, Err(508));
        }
        live.refresh(600).await.unwrap();
        let status: Status = server.post(UNDRAIN, "").await;
        assert!(!status.draining);
        assert_eq!(server.page("/readyz").await.status, 200);
        for _ in 0..8 {
            Client::allocated(&server, "early").await;
        }
    }
    server.drain();
    until_draining(&server).await;
    assert_eq!(server.post_refused(UNDRAIN, "").await, (409, "leaving".into()));
    assert!(server.status().await.draining);
    server.stop().await;
}

#[tokio::test]
async fn a_drain_without_allocations_ends_at_once() {
    let server = Server::start(|_| {});
    server.drain();
    assert_eq!(server.ended().await.allocations_closed, 0);
}

#[tokio::test]
async fn the_deadline_of_a_drain_ends_what_is_left() {
    let server = Server::start(|config| config.relay.drain_timeout = Duration::from_millis(300));
    let _live = Client::allocated(&server, "deadline").await;
    let start = Instant::now();
    server.drain();
    let summary = server.ended().await;
    assert!(start.elapsed() >= Duration::from_millis(300));
    assert_eq!((summary.allocations_created, summary.allocations_closed), (1, 1));
    assert_eq!(log::line("allocation closed", "deadline").await["cause"], "drain");
}

#[tokio::test]
async fn a_stop_during_a_drain_ends_within_two_seconds() {
    let server = Server::start(|config| config.relay.shards = 4);
    let mut clients = Vec::new();
    for _ in 0..40 {
        clients.push(Client::allocated(&server, "stopped").await);
    }
    server.drain();
    until_draining(&server).await;
    let start = Instant::now();
    let summary = server.stop().await;
    assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
    assert_eq!((summary.allocations_created, summary.allocations_closed), (40, 40));
    let closed: Vec<_> =
        log::all("allocation closed").into_iter().filter(|line| line["subject"] == "stopped").collect();
    assert_eq!(closed.len(), 40);
    assert!(closed.iter().all(|line| line["cause"] == "shutdown"));
    let client_in: u64 = closed.iter().map(|line| line["client_in_bytes"].as_u64().unwrap()).sum();
    let client_out: u64 = closed.iter().map(|line| line["client_out_bytes"].as_u64().unwrap()).sum();
    assert_eq!((client_in, client_out), (summary.traffic.client_in.bytes, summary.traffic.client_out.bytes));
}
