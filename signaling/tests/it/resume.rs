//! A session outlives its socket, and a pair the sockets of both.

use std::time::Duration;

use serde_json::{Value, json};

use crate::{
    SDP, candidate,
    client::Server,
    join, pair,
    session::{Client, Lost},
};

const SHORT: Duration = Duration::from_millis(300);

fn offer(pair: &str, seq: u64) -> Value {
    json!({"pair": pair, "seq": seq, "gen": 0, "description": {"type": "offer", "sdp": SDP}})
}

/// The numbers in the candidates of the next signals.
async fn candidates(client: &mut Client, count: usize) -> Vec<u64> {
    let mut numbers = Vec::new();
    for _ in 0..count {
        let signal = client.event("signal").await;
        let text = signal["candidates"][0]["candidate"].as_str().unwrap();
        numbers.push(text[10..].split(' ').next().unwrap().parse().unwrap());
    }
    numbers
}

#[tokio::test]
async fn a_pair_outlives_a_socket_and_nothing_is_missing_or_out_of_order() {
    let server = Server::start().await;
    let (mut a, b, pair) = pair(&server).await;
    assert_eq!(a.ask("signal", offer(&pair, 1)).await["ok"], true);
    let lost = b.lose();
    let away = a.event("peer.state").await;
    assert_eq!(away, json!({"seq": away["seq"], "pair": pair, "state": "reconnecting", "graceMs": 15_000}));
    for seq in 2..=20 {
        a.send("signal", candidate(&pair, seq)).await;
    }
    assert_eq!(a.ask("signal", candidate(&pair, 21)).await["ok"], true);

    let (mut b, resumed) = server.resume(&lost).await;
    let seq = lost.last_seq;
    assert_eq!(resumed, json!({"seq": seq, "state": "active", "pair": pair, "lastClientSeq": 0}));
    assert_eq!(b.event("signal").await["description"]["type"], "offer", "sent before the socket was lost");
    assert_eq!(candidates(&mut b, 20).await, (2..=21).collect::<Vec<_>>());
    assert_eq!(a.event("peer.state").await["state"], "back");

    a.send("signal", candidate(&pair, 22)).await;
    assert_eq!(candidates(&mut b, 1).await, [22]);
    let answer = json!({"pair": pair, "seq": 1, "gen": 0, "description": {"type": "answer", "sdp": SDP}});
    assert_eq!(b.ask("signal", answer.clone()).await["ok"], true);
    assert_eq!(a.event("signal").await["description"]["type"], "answer");
    let (mut b, resumed) = server.resume(&b.lose()).await;
    assert_eq!(resumed["lastClientSeq"], 1);
    assert_eq!(b.ask("signal", answer).await, json!({"ok": true, "duplicate": true}));
    assert_eq!(b.ask("signal", candidate(&pair, 2)).await["ok"], true, "its seq goes on");
}

#[tokio::test]
async fn a_pair_outlives_both_sockets_at_once() {
    let server = Server::start().await;
    let (mut a, b, pair) = pair(&server).await;
    a.send("signal", offer(&pair, 1)).await;
    let (a, b) = (a.lose(), b.lose());
    let (mut b, resumed) = server.resume(&b).await;
    assert_eq!((&resumed["state"], &resumed["pair"]), (&json!("active"), &json!(pair)));
    assert_eq!(b.event("signal").await["description"]["type"], "offer");
    let (mut a, resumed) = server.resume(&a).await;
    assert_eq!((&resumed["state"], &resumed["lastClientSeq"]), (&json!("active"), &json!(1)));
    for seq in 2..=9 {
        a.send("signal", candidate(&pair, seq)).await;
    }
    assert_eq!(candidates(&mut b, 8).await, (2..=9).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_valid_resume_takes_over_from_a_socket_that_still_seems_open() {
    let server = Server::start().await;
    let (mut a, before, pair) = pair(&server).await;
    let (mut b, resumed) = server.resume(&before.state()).await;
    assert_eq!(resumed["state"], "active");
    before.closed().await;
    a.send("signal", offer(&pair, 1)).await;
    assert_eq!(b.event("signal").await["description"]["type"], "offer");
    assert_eq!(b.ask("match.leave", json!({"pair": pair})).await["ok"], true);
    assert_eq!(a.next().await.0, "match.ended", "the partner has not heard of another socket");
}

#[tokio::test]
async fn a_side_that_stays_away_is_lost_and_finds_that_when_it_is_back() {
    let server = Server::start_as(|config, _| config.signaling.pair_grace = SHORT).await;
    let (mut a, b, pair) = pair(&server).await;
    let b = b.lose();
    assert_eq!(a.event("peer.state").await["graceMs"], 300);
    let ended = a.event("match.ended").await;
    assert_eq!((&ended["reason"], &ended["state"]), (&json!("lost"), &json!("idle")));
    let (mut b, resumed) = server.resume(&b).await;
    assert_eq!(resumed, json!({"seq": b.last_seq, "state": "idle", "lastClientSeq": 0}));
    assert_eq!(b.event("match.ended").await["pair"], pair);
    assert_eq!(b.ask("queue.join", join()).await["ok"], true);
}

#[tokio::test]
async fn a_session_that_stays_away_is_gone_and_its_client_begins_another() {
    let server = Server::start_as(|config, _| {
        config.signaling.pair_grace = 2 * SHORT;
        config.signaling.resume_for = SHORT;
    })
    .await;
    let (mut a, b, _) = pair(&server).await;
    let b = b.lose();
    assert_eq!(a.event("match.ended").await["reason"], "lost");
    let mut again = Client::open(&server.address, &auth(&b)).await;
    let hello = again.event("hello").await;
    assert_eq!((&hello["seq"], &hello["resumeTtl"]), (&json!(1), &json!(0)));
    assert_ne!(hello["session"], b.session);
}

fn auth(lost: &Lost) -> Value {
    json!({"v": 1, "resume": {"id": lost.resume, "lastSeq": lost.last_seq}})
}

#[tokio::test]
async fn more_missed_than_is_kept_ends_the_pair() {
    let server = Server::start().await;
    let (mut a, b, pair) = pair(&server).await;
    let b = b.lose();
    a.event("peer.state").await;
    let long = format!("{SDP}a=x:{}\r\n", "x".repeat(30 * 1024));
    for seq in 1..=3 {
        let large =
            json!({"pair": pair, "seq": seq, "gen": 0, "description": {"type": "offer", "sdp": long}});
        a.send("signal", large).await;
    }
    assert_eq!(a.event("match.ended").await["reason"], "lost");
    let mut again = Client::open(&server.address, &auth(&b)).await;
    assert_ne!(again.event("hello").await["session"], b.session);
}

#[tokio::test]
async fn what_no_session_is_named_by_begins_a_new_one() {
    let server = Server::start().await;
    let a = server.connect().await;
    let known = a.state();
    for lost in
        [Lost { resume: known.session.clone(), ..known.clone() }, Lost { last_seq: 99, ..known.clone() }]
    {
        let mut other = Client::open(&server.address, &auth(&lost)).await;
        assert_ne!(other.event("hello").await["session"], known.session);
    }
    a.closed().await;
}

#[tokio::test]
async fn who_waits_without_a_socket_is_found_by_nobody_and_keeps_its_place() {
    let server = Server::start().await;
    let mut a = server.connect().await;
    a.ask("queue.join", join()).await;
    let since = a.event("queue.state").await["since"].as_u64().unwrap();
    let a = a.lose();
    let mut b = server.connect().await;
    b.ask("queue.join", join()).await;
    b.event("queue.state").await;
    let (mut a, resumed) = server.resume(&a).await;
    assert_eq!(resumed["state"], "waiting");
    assert_eq!(a.event("queue.state").await["since"].as_u64().unwrap() / 10, since / 10);
    assert_eq!(a.event("match.found").await["role"], "initiator", "its first join counts");
    assert_eq!(b.event("match.found").await["role"], "responder");
}

#[tokio::test]
async fn a_ghost_never_reaches_the_start() {
    let server = Server::start().await;
    let (mut a, mut b) = (server.connect().await, server.connect().await);
    a.ask("queue.join", join()).await;
    b.ask("queue.join", join()).await;
    let found = a.event("match.found").await;
    assert_eq!(a.ask("match.accept", json!({"pair": found["pair"]})).await["ok"], true);
    let a = a.lose();
    let ended = b.event("match.ended").await;
    assert_eq!((&ended["reason"], &ended["state"]), (&json!("lost"), &json!("waiting")));
    assert_eq!(b.ask("match.accept", json!({"pair": found["pair"]})).await["code"], "not_in_pair");
    let (mut a, resumed) = server.resume(&a).await;
    assert_eq!(resumed["state"], "idle");
    assert_eq!(a.event("match.ended").await["state"], "idle");
}

#[tokio::test]
async fn goodbye_and_nonsense_end_a_session_for_good() {
    let server = Server::start().await;
    let (mut a, mut b, _) = pair(&server).await;
    assert_eq!(a.ask("bye", json!({})).await["ok"], true);
    assert_eq!(b.event("match.ended").await["reason"], "left", "at once");
    let a = a.lose();
    for _ in 0..3 {
        b.ask("queue.join", json!({"mode": "dance"})).await;
    }
    let over = b.state();
    b.closed().await;
    for lost in [a, over] {
        let mut again = Client::open(&server.address, &auth(&lost)).await;
        assert_ne!(again.event("hello").await["session"], lost.session);
    }
}
