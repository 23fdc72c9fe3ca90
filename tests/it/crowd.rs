//! The crowds of the signaling benchmark in small, against the real binary. Nothing here depends on how fast the machine is.

use std::{path::PathBuf, time::Duration};

use turnpike_signaling_bench::{
    idle::idle,
    ledger::Wrong,
    matches::matches,
    servers::{Kind, Programs, Server},
    signals::signals,
    storm::storm,
};

fn programs() -> Programs {
    Programs {
        turnpike: PathBuf::from(env!("CARGO_BIN_EXE_turnpike")),
        node: "node".into(),
        script: "signaling/bench/node/server.mjs".into(),
        server_processors: vec![],
        crowd_processors: vec![],
    }
}

const A_WHILE: Duration = Duration::from_secs(2);

#[tokio::test]
async fn a_crowd_of_two_addresses_is_greeted_and_kept() {
    let server = Server::start(Kind::Turnpike, &programs()).await.unwrap();
    let seen = idle(&server, 200, A_WHILE).await.unwrap();
    assert_eq!((seen.sockets, seen.lost), (200, 0), "{seen:?}");
    assert!(seen.memory_kib > 0.0, "{seen:?}");
}

#[tokio::test]
async fn strangers_are_paired_in_twos_alike_on_both_servers() {
    for kind in [Kind::Turnpike, Kind::Node] {
        let server = Server::start(kind, &programs()).await.unwrap();
        let seen = matches(&server, 60, 20.0, A_WHILE).await.unwrap();
        assert_eq!(seen.wrong, Wrong::default(), "{kind:?}: {seen:?}");
        assert!(seen.started > 10.0, "{kind:?}: {seen:?}");
        assert!(seen.join_to_found_us.p99 > 0.0 && seen.server_us > 0.0, "{kind:?}: {seen:?}");
    }
}

#[tokio::test]
async fn signals_arrive_once_and_in_order_on_both_servers() {
    for kind in [Kind::Turnpike, Kind::Node] {
        let server = Server::start(kind, &programs()).await.unwrap();
        let seen = signals(&server, 100.0, A_WHILE).await.unwrap();
        assert_eq!((seen.pairs, seen.lost, seen.out_of_order), (5, 0, 0), "{kind:?}: {seen:?}");
        assert!(seen.relayed > 50.0 && seen.latency_us.p50 > 0.0, "{kind:?}: {seen:?}");
    }
}

#[tokio::test]
async fn after_a_restart_every_pair_is_there_again() {
    let programs = programs();
    let server = Server::start(Kind::Turnpike, &programs).await.unwrap();
    let (_server, seen) = storm(server, &programs, 60).await.unwrap();
    assert_eq!((seen.clients, seen.back, seen.pairs_resumed), (60, 60, 60), "{seen:?}");
    assert!(seen.back_99_seconds < 30.0, "{seen:?}");
}

/// The full figures of signaling.
#[tokio::test]
#[ignore = "four minutes: make soak"]
async fn soak_of_20000_sockets_500_matches_10000_signals_and_5000_who_come_back() {
    let programs = programs();
    let server = Server::start(Kind::Turnpike, &programs).await.unwrap();
    let seen = idle(&server, 20_000, Duration::from_secs(30)).await.unwrap();
    eprintln!("{seen:?}");
    assert!(seen.memory_kib <= 40.0 && seen.lost == 0, "{seen:?}");
    server.stop().unwrap();

    let lasts = Duration::from_secs(60);
    let server = Server::start(Kind::Turnpike, &programs).await.unwrap();
    let seen = matches(&server, 4000, 500.0, lasts).await.unwrap();
    eprintln!("{seen:?}");
    assert!(seen.wrong == Wrong::default() && seen.started >= 495.0, "{seen:?}");
    assert!(seen.join_to_found_us.p99 <= 50_000.0, "{seen:?}");
    server.stop().unwrap();

    let server = Server::start(Kind::Turnpike, &programs).await.unwrap();
    let seen = signals(&server, 10_000.0, lasts).await.unwrap();
    eprintln!("{seen:?}");
    assert_eq!((seen.lost, seen.out_of_order), (0, 0), "{seen:?}");
    assert!(seen.relayed >= 9900.0 && seen.latency_us.p99 <= 15_000.0, "{seen:?}");
    server.stop().unwrap();

    let server = Server::start(Kind::Turnpike, &programs).await.unwrap();
    let (_server, seen) = storm(server, &programs, 5000).await.unwrap();
    eprintln!("{seen:?}");
    assert!(seen.back_99_seconds <= 10.0 && seen.pairs_resumed == 5000, "{seen:?}");
}
