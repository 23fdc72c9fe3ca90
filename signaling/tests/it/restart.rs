//! Sessions and pairs outlive the process, when it ends in its own time.

use std::{fs, os::unix::fs::PermissionsExt as _, path::Path, time::Instant};

use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::{
    SDP, candidate,
    client::Server,
    join, pair,
    session::{Client, Lost, SOON},
};

const FILE: &str = "signaling-sessions.json";

fn auth(lost: &Lost) -> Value {
    json!({"v": 1, "resume": {"id": lost.resume, "lastSeq": lost.last_seq}})
}

/// Whether the server greets a new session for one that it does not know.
async fn is_forgotten(server: &Server, lost: &Lost) -> bool {
    let (event, hello) = Client::open(&server.address, &auth(lost)).await.next().await;
    event == "hello" && hello["session"] != lost.session
}

#[tokio::test]
async fn pairs_go_on_after_a_restart_and_nothing_is_missing() {
    let server = Server::start().await;
    let (mut a, b, pair) = pair(&server).await;
    let offer = json!({"pair": pair, "seq": 1, "gen": 0, "description": {"type": "offer", "sdp": SDP}});
    assert_eq!(a.ask("signal", offer).await["ok"], true);
    let mut waiter = server.connect().await;
    waiter.ask("queue.join", json!({"mode": "text", "interests": ["tea"], "privacy": "all"})).await;
    let since = waiter.event("queue.state").await["since"].as_u64().unwrap();
    // The offer was sent, but this client has not heard it.
    let (lost_a, lost_b, lost_waiter) = (a.state(), b.state(), waiter.state());

    let server = server
        .restart(|folder| {
            let file = folder.join(FILE);
            assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        })
        .await;
    assert_eq!(a.event("notice").await["kind"], "draining");
    b.closed().await;

    let (mut b, resumed) = server.resume(&lost_b).await;
    assert_eq!((&resumed["state"], &resumed["pair"]), (&json!("active"), &json!(pair)));
    assert_eq!(b.event("signal").await["description"]["type"], "offer");
    let (mut a, resumed) = server.resume(&lost_a).await;
    assert_eq!(resumed["lastClientSeq"], 1);
    let answer = json!({"pair": pair, "seq": 1, "gen": 0, "description": {"type": "answer", "sdp": SDP}});
    assert_eq!(b.ask("signal", answer.clone()).await["ok"], true);
    assert_eq!(a.event("signal").await["description"]["type"], "answer");
    assert_eq!(a.ask("signal", candidate(&pair, 2)).await["ok"], true);
    assert_eq!(
        b.event("signal").await["candidates"][0]["candidate"].as_str().unwrap()[..12],
        *"candidate:2 "
    );

    let (mut waiter, resumed) = server.resume(&lost_waiter).await;
    assert_eq!(resumed["state"], "waiting");
    assert!(waiter.event("queue.state").await["since"].as_u64().unwrap().abs_diff(since) < 50);
    let mut other = server.connect().await;
    other.ask("queue.join", json!({"mode": "text", "interests": ["tea"], "privacy": "all"})).await;
    assert_eq!(waiter.event("match.found").await["role"], "initiator");
    let ended = b.ask("match.leave", json!({"pair": pair})).await;
    assert_eq!(ended["ok"], true);
    assert_eq!(a.event("match.ended").await["reason"], "left");
}

#[tokio::test]
async fn a_crowd_is_back_soon_with_all_its_pairs() {
    const PAIRS: usize = 60;
    let server = Server::start().await;
    let mut crowd = Vec::new();
    for _ in 0..PAIRS {
        let (a, b, pair) = pair(&server).await;
        crowd.extend([(a.lose(), pair.clone()), (b.lose(), pair)]);
    }
    let server = server.restart(|_| {}).await;
    let started = Instant::now();
    let back = join_all(crowd.iter().map(|(lost, _)| server.resume(lost))).await;
    for ((_, resumed), (_, pair)) in back.iter().zip(&crowd) {
        assert_eq!((&resumed["state"], &resumed["pair"]), (&json!("active"), &json!(pair)));
    }
    println!("{} sessions were back in {:?}", back.len(), started.elapsed());
    assert!(started.elapsed() < SOON);
}

#[tokio::test]
async fn an_offer_ends_with_the_process_and_both_sides_know() {
    let server = Server::start().await;
    let (mut a, mut b) = (server.connect().await, server.connect().await);
    a.ask("queue.join", join()).await;
    b.ask("queue.join", join()).await;
    let found = a.event("match.found").await;
    b.event("match.found").await;
    a.ask("match.accept", json!({"pair": found["pair"]})).await;
    let lost = [a.state(), b.state()];
    let server = server.restart(|_| {}).await;
    for lost in &lost {
        let (mut client, resumed) = server.resume(lost).await;
        assert_eq!(resumed["state"], "idle");
        assert_eq!(client.event("match.ended").await["state"], "idle");
    }
}

#[tokio::test]
async fn a_file_that_is_damaged_or_old_is_ignored_and_removed() {
    let damages: [fn(&Path); 4] = [
        |file| fs::write(file, "{").unwrap(),
        |file| fs::write(file, r#"{"at": 0, "sessions": "none", "pairs": []}"#).unwrap(),
        |file| {
            let mut saved: Value = serde_json::from_slice(&fs::read(file).unwrap()).unwrap();
            saved["at"] = json!(saved["at"].as_u64().unwrap() - 40_000);
            fs::write(file, saved.to_string()).unwrap();
        },
        |file| {
            let mut saved: Value = serde_json::from_slice(&fs::read(file).unwrap()).unwrap();
            for session in saved["sessions"].as_array_mut().unwrap() {
                session["outbox"]["last_seq"] = json!(0);
            }
            fs::write(file, saved.to_string()).unwrap();
        },
    ];
    for damage in damages {
        let server = Server::start().await;
        let (a, _b, _) = pair(&server).await;
        let lost = a.state();
        let mut folder = None;
        let server = server
            .restart(|at| {
                damage(&at.join(FILE));
                folder = Some(at.to_owned());
            })
            .await;
        assert!(is_forgotten(&server, &lost).await);
        assert!(!folder.unwrap().join(FILE).exists());
    }
}

#[tokio::test]
async fn without_a_folder_to_write_to_both_sides_hear_the_end_at_once() {
    let server = Server::start_as(|config, folder| config.node.state_dir = folder.join("not/there")).await;
    let (mut a, mut b, _) = pair(&server).await;
    let _server = server.restart(|_| {}).await;
    for client in [&mut a, &mut b] {
        assert_eq!(client.event("match.ended").await["reason"], "drain");
    }
}
