//! The admin API.

use std::os::unix::fs::PermissionsExt as _;

use crate::{
    client::Client,
    harness::{Server, relay_address},
    http, metrics,
};

#[tokio::test]
async fn status_tells_what_is_configured_and_what_is_live() {
    let server = Server::start(|config| {
        config.relay.shards = 3;
        config.relay.relay_ipv4 = relay_address([127, 0, 0, 1], [198, 18, 0, 9]);
        config.relay.max_allocations = 77;
    });
    let mode = std::fs::metadata(&server.listening.admin_socket).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o660);
    let mut client = Client::allocated(&server, "status").await;
    client.refresh(600).await.unwrap();
    metrics::until(&server, "turnpike_allocations_created_total{transport=\"udp\"}", 1.0).await;
    let status = server.status().await;
    assert_eq!((status.node.as_str(), status.shards, status.allocations_limit), ("test", 3, 77));
    assert_eq!(status.advertised_ipv4, "198.18.0.9");
    assert_eq!(status.listen_udp, server.listening.udp);
    assert_eq!((status.allocations, status.allocations_created, status.draining), (1, 1, false));
    assert_eq!(status.version, env!("CARGO_PKG_VERSION"));
    server.stop().await;
}

#[tokio::test]
async fn sessions_of_all_shards_are_listed() {
    let server = Server::start(|config| config.relay.shards = 4);
    let mut clients = Vec::new();
    for _ in 0..20 {
        clients.push(Client::allocated(&server, "listed").await);
    }
    let sessions = server.sessions().await;
    assert_eq!(sessions.len(), 20);
    for client in &clients {
        let session = sessions.iter().find(|session| session.client == client.address()).unwrap();
        assert_eq!(session.relayed, client.relayed);
        assert_eq!((session.subject.as_str(), session.transport.as_str()), ("listed", "udp"));
        assert!((590..=600).contains(&session.expires_in_seconds), "{session:?}");
        assert!(session.age_seconds <= 10, "{session:?}");
    }
    server.stop().await;
}

#[tokio::test]
async fn what_is_not_there_is_a_problem_with_a_code() {
    let server = Server::start(|_| {});
    let answer = http::get_unix(&server.listening.admin_socket, "/v1/nothing").await;
    assert_eq!(answer.status, 404);
    assert!(answer.head.contains("content-type: application/problem+json"), "{}", answer.head);
    let problem: serde_json::Value = serde_json::from_str(&answer.body).unwrap();
    assert_eq!((&problem["code"], &problem["status"]), (&"not_found".into(), &404.into()));
    server.stop().await;
}
