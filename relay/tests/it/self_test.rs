//! The relay tries itself, and nobody sees it among the allocations.

use std::time::Duration;

use turnpike_relay_api::{
    admin::Traffic,
    usage::{USAGE, Usage},
};

use crate::{
    client::Client,
    harness::{PATIENCE, Server, with_tls},
    http, log,
    metrics::{until, until_above},
};

fn tried(every: Duration) -> Server {
    Server::start(|config| {
        with_tls(config);
        config.relay.max_allocations = 1;
        config.metrics.selftest = Some(every);
    })
}

/// The samples are absent before the first try.
async fn until_all(server: &Server, success: u8) {
    let lines = ["udp", "tcp", "tls"]
        .map(|transport| format!("turnpike_selftest_success{{transport=\"{transport}\"}} {success}"));
    let wait = async {
        loop {
            let text = server.page("/metrics").await.ok();
            if lines.iter().all(|line| text.lines().any(|found| found == line)) {
                return;
            }
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, wait).await.unwrap_or_else(|_| panic!("not all are at {success}"));
}

#[tokio::test(flavor = "multi_thread")]
async fn it_goes_through_over_each_transport_and_is_in_no_ledger() {
    let server = tried(Duration::from_secs(3_600));
    until_all(&server, 1).await;
    for transport in ["udp", "tcp", "tls"] {
        let requests = |method: &str| {
            format!(
                "turnpike_stun_requests_total{{method=\"{method}\",transport=\"{transport}\",result=\"success\"}}"
            )
        };
        until(&server, &requests("channel_bind"), 1.0).await;
        until(&server, &requests("refresh"), 1.0).await;
        let took = format!("turnpike_selftest_round_trip_seconds{{transport=\"{transport}\"}}");
        until_above(&server, &took, 0.0).await;
    }
    until_above(&server, "turnpike_unallocated_bytes_total{kind=\"stun\",direction=\"out\"}", 0.0).await;
    let status = server.status().await;
    assert_eq!((status.allocations_created, status.traffic), (0, Traffic::default()));
    let usage = http::get_unix(&server.listening.admin_socket, USAGE).await.ok();
    let usage: Usage = serde_json::from_str(&usage).unwrap();
    assert_eq!((usage.records.len(), usage.total.allocations), (0, 0), "{usage:?}");
    assert!(
        log::all("allocation opened")
            .iter()
            .all(|line| { line["subject"].as_str().is_some_and(|subject| !subject.starts_with("selftest")) })
    );
    let summary = server.stop().await;
    assert_eq!((summary.allocations_created, summary.allocations_closed), (0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_takes_nobody_fails_it_until_it_takes_somebody_again() {
    let server = tried(Duration::from_millis(200));
    until_all(&server, 1).await;
    // One that comes while the node tries itself finds the only place taken.
    let mut only = loop {
        let credential = crate::harness::credential("only", &Default::default());
        let mut client = Client::new(server.address(), credential).await;
        match client.allocate(Default::default()).await {
            Ok(()) => break client,
            Err(code) => assert_eq!(code, 508),
        }
    };
    until_all(&server, 0).await;
    let said = log::all_with_code("selftest_failed");
    assert!(said.iter().any(|line| line["error"].as_str().unwrap().contains("508")), "{said:?}");
    only.refresh(0).await.unwrap();
    until_all(&server, 1).await;
    server.stop().await;
}
