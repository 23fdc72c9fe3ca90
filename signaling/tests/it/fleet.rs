//! Nodes that share a Redis: strangers of all of them meet, and a client may come back to any.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use turnpike_config::Secret;

use crate::{
    SDP, candidate,
    client::{Server, http},
    join,
    moderation::{admin, come, device, is_let_in, report},
    redis_server::{self, Redis, free_port},
    session::Client,
};

const SOON: Duration = Duration::from_secs(20);

async fn node(url: &str) -> Server {
    node_as(url, |_| {}).await
}

async fn node_as(url: &str, change: impl FnOnce(&mut turnpike_config::Config)) -> Server {
    let server = Server::start_as(|config, _| {
        change(config);
        let redis = turnpike_config::Redis { url: Secret::new(url), prefix: "fleet".to_owned() };
        config.redis = Some(redis);
        config.metrics.signaling_listen = Some("127.0.0.1:0".parse().unwrap());
    })
    .await;
    until_redis_is(&server, "up").await;
    server
}

async fn fleet<const N: usize>(redis: &Redis) -> [Server; N] {
    let mut servers = Vec::new();
    for _ in 0..N {
        servers.push(node(&redis.url()).await);
    }
    servers.try_into().ok().unwrap()
}

async fn until_redis_is(server: &Server, expected: &str) {
    let began = Instant::now();
    loop {
        let (status, ready) = http(server, "GET", "/readyz", &[], "").await;
        assert_eq!(status, 200, "ready whatever Redis does: {ready}");
        if ready["redis"] == expected {
            assert_eq!(ready["degraded"], expected == "down");
            return;
        }
        assert!(began.elapsed() < SOON, "{ready}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Two strangers of two nodes, in a call.
async fn pair(redis: &Redis, one: &Server, other: &Server) -> (Client, Client, String) {
    let (mut a, mut b) = (one.connect().await, other.connect().await);
    assert_eq!(a.ask("queue.join", join()).await["ok"], true);
    until_it_waits(redis, &a).await;
    assert_eq!(b.ask("queue.join", join()).await["ok"], true);
    let pair = meet(&mut a, &mut b).await;
    (a, b, pair)
}

/// Both joins go to Redis by connections of their own: the order is that of their coming.
async fn until_it_waits(redis: &Redis, client: &Client) {
    let began = Instant::now();
    let asked = format!("HGET fleet:s:{} state", client.session);
    while !redis.ask(&asked).await.contains("waiting") {
        assert!(began.elapsed() < SOON, "Redis does not know who waits");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

async fn meet(a: &mut Client, b: &mut Client) -> String {
    let (to_a, to_b) = (a.event("match.found").await, b.event("match.found").await);
    assert_eq!(to_a["pair"], to_b["pair"]);
    assert_eq!((&to_a["role"], &to_b["role"]), (&json!("initiator"), &json!("responder")));
    let pair = to_a["pair"].as_str().unwrap().to_owned();
    for client in [&mut *a, &mut *b] {
        assert_eq!(client.ask("match.accept", json!({"pair": pair})).await["ok"], true);
    }
    a.event("match.start").await;
    b.event("match.start").await;
    pair
}

fn description(pair: &str, seq: u64, kind: &str) -> Value {
    json!({"pair": pair, "seq": seq, "gen": 0, "description": {"type": kind, "sdp": SDP}})
}

/// The numbers in the candidates of the next signals.
async fn candidates(client: &mut Client, count: usize) -> Vec<u64> {
    let mut numbers = Vec::new();
    for _ in 0..count {
        let signal = client.event("signal").await;
        let text = signal["candidates"][0]["candidate"].as_str().unwrap_or_else(|| panic!("{signal}"));
        numbers.push(text[10..].split(' ').next().unwrap().parse().unwrap());
    }
    numbers
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn strangers_of_two_nodes_meet_and_hear_each_other_in_order() {
    let redis = Redis::start().await;
    let [one, other] = fleet(&redis).await;
    let (mut a, mut b, pair) = pair(&redis, &one, &other).await;
    assert_eq!(b.ask("signal", description(&pair, 1, "offer")).await["code"], "not_initiator");
    assert_eq!(a.ask("signal", description(&pair, 1, "offer")).await["ok"], true);
    for seq in 2..=40 {
        a.send("signal", candidate(&pair, seq)).await;
    }
    assert_eq!(b.event("signal").await["description"]["type"], "offer");
    assert_eq!(candidates(&mut b, 39).await, (2..=40).collect::<Vec<_>>());
    assert_eq!(b.ask("signal", description(&pair, 2, "answer")).await["ok"], true);
    assert_eq!(b.ask("signal", description(&pair, 3, "answer")).await["code"], "wrong_state");
    assert_eq!(a.event("signal").await["description"]["type"], "answer");
    assert_eq!(
        b.ask("chat.send", json!({"pair": pair, "id": "1", "text": "hello over there"})).await["ok"],
        true
    );
    assert_eq!(a.event("chat.message").await["text"], "hello over there");
    let lost = b.lose();
    assert_eq!(a.event("peer.state").await["state"], "reconnecting");
    let (mut b, _) = other.resume(&lost).await;
    assert_eq!(a.event("peer.state").await["state"], "back");
    assert_eq!(a.ask("match.next", json!({"pair": pair})).await["ok"], true);
    let ended = b.event("match.ended").await;
    assert_eq!((&ended["reason"], &ended["state"]), (&json!("next"), &json!("idle")));
    until_it_waits(&redis, &a).await;
    let mut c = other.connect().await;
    c.ask("queue.join", join()).await;
    meet(&mut a, &mut c).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_does_not_accept_on_another_node_is_out() {
    let redis = Redis::start().await;
    let [one, other] = fleet(&redis).await;
    let (mut a, mut b) = (one.connect().await, other.connect().await);
    a.ask("queue.join", join()).await;
    b.ask("queue.join", join()).await;
    let found = a.event("match.found").await;
    a.ask("match.accept", json!({"pair": found["pair"]})).await;
    let (to_a, to_b) = (a.event("match.ended").await, b.event("match.ended").await);
    assert_eq!((&to_a["state"], &to_b["state"]), (&json!("waiting"), &json!("idle")));
    // Who leaves an offer frees the other one at once.
    let mut c = other.connect().await;
    c.ask("queue.join", join()).await;
    let found = a.event("match.found").await;
    assert_eq!(c.event("match.found").await["pair"], found["pair"]);
    assert_eq!(c.ask("queue.leave", json!({})).await["result"], "ended");
    assert_eq!(a.event("match.ended").await["state"], "waiting");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_ghost_of_a_dead_node_is_removed_and_nobody_meets_it() {
    let redis = Redis::start().await;
    let [one, other] = fleet(&redis).await;
    for ghost in ["ghost", "nobody"] {
        redis.ask(&format!("ZADD fleet:open:video 1 {ghost}")).await;
    }
    let waits = "state waiting node gone since 1 lines '[\"fleet:open:video\"]' interests '[]' recent '{}' party ghost";
    redis.ask(&format!("HSET fleet:s:ghost {waits}")).await;
    let (a, _b, _) = pair(&redis, &one, &other).await;
    assert!(!a.session.is_empty());
    assert_eq!(redis.ask("ZCARD fleet:open:video").await, ":0\r\n");
    assert_eq!(redis.ask("EXISTS fleet:s:ghost").await, ":0\r\n");
}

/// Whoever of the two waits longer.
async fn meet_anyhow(one: &mut Client, other: &mut Client) -> String {
    for client in [&mut *one, &mut *other] {
        assert_eq!(client.ask("queue.join", join()).await["ok"], true);
    }
    let (to_one, to_other) = (one.event("match.found").await, other.event("match.found").await);
    assert_eq!(to_one["pair"], to_other["pair"]);
    let pair = to_one["pair"].as_str().unwrap().to_owned();
    for client in [&mut *one, &mut *other] {
        client.ask("match.accept", json!({"pair": pair})).await;
    }
    one.event("match.start").await;
    other.event("match.start").await;
    pair
}

/// Who the partner on another node is comes a moment after the start.
async fn report_once_known(client: &mut Client, payload: Value) {
    let began = Instant::now();
    loop {
        let answer = client.ask("report", payload.clone()).await;
        if answer["ok"] == true {
            return;
        }
        assert!(answer["code"] == "not_in_pair" && began.elapsed() < SOON, "{answer}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reports_blocks_and_bans_hold_at_every_node() {
    let redis = Redis::start().await;
    let behind_a_proxy = |config: &mut turnpike_config::Config| {
        config.signaling.trusted_proxies = vec!["127.0.0.0/8".parse().unwrap()];
        config.signaling.rematch_after = Duration::ZERO;
    };
    let one = node_as(&redis.url(), behind_a_proxy).await;
    let other = node_as(&redis.url(), behind_a_proxy).await;

    // Three people at two nodes report somebody of the first, who has gone on to the second in between.
    let mut rude = come(&one, 1, "198.18.0.1").await;
    for (n, at) in [(2, &one), (3, &other), (4, &one)] {
        let mut kind = come(at, n, &format!("198.18.0.{n}")).await;
        let pair = meet_anyhow(&mut kind, &mut rude).await;
        if n == 3 {
            let (again, _) = Client::take_over(&other.address, &rude.lose()).await;
            rude = again;
        }
        report_once_known(&mut kind, report(&pair)).await;
        if n == 4 {
            assert_eq!(kind.event("match.ended").await["reason"], "reported");
            break;
        }
        assert_eq!(kind.ask("match.leave", json!({"pair": pair})).await["ok"], true);
        rude.event("match.ended").await;
        kind.ask("bye", json!({})).await;
    }
    rude.closed().await;
    let as_rude = || json!({"v": 1, "device": device(1)});
    for server in [&one, &other] {
        let began = Instant::now();
        while is_let_in(server, as_rude(), "198.18.9.9").await {
            assert!(began.elapsed() < SOON, "a node has not heard of the ban");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    let (mut a, mut b) = (come(&one, 5, "198.18.0.5").await, come(&other, 6, "198.18.0.6").await);
    let pair = meet_anyhow(&mut a, &mut b).await;
    let mut with_block = report(&pair);
    with_block["block"] = json!(true);
    report_once_known(&mut a, with_block).await;
    assert_eq!(a.ask("match.leave", json!({"pair": pair})).await["ok"], true);
    b.event("match.ended").await;
    for client in [&mut a, &mut b] {
        assert_eq!(client.ask("queue.join", join()).await["ok"], true);
        until_it_waits(&redis, client).await;
    }
    // Nor does the same person in another window meet either of them: a blocked one and itself.
    let mut again = come(&other, 5, "198.18.0.5").await;
    again.ask("queue.join", join()).await;
    until_it_waits(&redis, &again).await;

    let (_, reports) = admin(&one, "GET", "/v1/reports?limit=1", "").await;
    let ban = json!({"device": reports["reports"][0]["reported"]["device"], "note": "enough"}).to_string();
    assert_eq!(admin(&one, "POST", "/v1/bans", &ban).await.0, 201);
    b.closed().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_goes_on_on_another_node_and_nothing_is_missing() {
    let redis = Redis::start().await;
    let [one, two, three] = fleet(&redis).await;
    let (mut a, b, pair) = pair(&redis, &one, &two).await;
    assert_eq!(a.ask("signal", description(&pair, 1, "offer")).await["ok"], true);
    let lost = b.lose();
    assert_eq!(a.event("peer.state").await["state"], "reconnecting");
    for seq in 2..=20 {
        a.send("signal", candidate(&pair, seq)).await;
    }
    assert_eq!(a.ask("signal", candidate(&pair, 21)).await["ok"], true);
    // The third node, then that of the partner, then away from it again.
    let (mut b, resumed) = three.resume(&lost).await;
    assert_eq!((&resumed["state"], &resumed["pair"]), (&json!("active"), &json!(pair)));
    assert_eq!(b.event("signal").await["description"]["type"], "offer");
    assert_eq!(candidates(&mut b, 20).await, (2..=21).collect::<Vec<_>>());
    assert_eq!(a.event("peer.state").await["state"], "back");
    assert_eq!(b.ask("signal", description(&pair, 1, "answer")).await["ok"], true);
    assert_eq!(a.event("signal").await["description"]["type"], "answer");

    let lost = b.lose();
    a.event("peer.state").await;
    a.send("signal", candidate(&pair, 22)).await;
    let (mut b, resumed) = one.resume(&lost).await;
    assert_eq!(resumed["lastClientSeq"], 1);
    a.send("signal", candidate(&pair, 23)).await;
    assert_eq!(candidates(&mut b, 2).await, [22, 23]);
    assert_eq!(b.ask("signal", candidate(&pair, 2)).await["ok"], true);
    assert_eq!(candidates(&mut a, 1).await, [2]);

    let (mut b, _) = two.resume(&b.lose()).await;
    a.send("signal", candidate(&pair, 24)).await;
    assert_eq!(candidates(&mut b, 1).await, [24]);
    let (mut a, resumed) = three.resume(&a.lose()).await;
    assert_eq!(resumed["state"], "active");
    assert_eq!(a.ask("signal", candidate(&pair, 25)).await["ok"], true);
    assert_eq!(candidates(&mut b, 1).await, [25]);
    assert_eq!(b.ask("match.leave", json!({"pair": pair})).await["ok"], true);
    assert_eq!(a.event("match.ended").await["reason"], "left");
    let mut stranger = one.connect().await;
    stranger.ask("queue.join", join()).await;
    until_it_waits(&redis, &stranger).await;
    a.ask("queue.join", join()).await;
    meet(&mut stranger, &mut a).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_stops_leaves_its_sessions_to_the_others() {
    let redis = Redis::start().await;
    let [one, two, three] = fleet(&redis).await;
    let (mut a, b, pair) = pair(&redis, &one, &two).await;
    let (c, d, inner) = self::pair(&redis, &two, &two).await;
    assert_eq!(a.ask("signal", description(&pair, 1, "offer")).await["ok"], true);
    let [mut b, mut c, mut d] = [b, c, d];
    b.event("signal").await;
    let stopping = tokio::spawn(two.stop());
    for client in [&mut b, &mut c, &mut d] {
        assert_eq!(client.event("notice").await["kind"], "draining");
    }
    let (b, c, d) = (b.lose(), c.lose(), d.lose());
    stopping.await.unwrap();
    assert_eq!(a.event("peer.state").await["state"], "reconnecting");
    assert_eq!(a.ask("signal", candidate(&pair, 2)).await["ok"], true);
    let (mut b, resumed) = three.resume(&b).await;
    assert_eq!((&resumed["state"], &resumed["pair"]), (&json!("active"), &json!(pair)));
    assert_eq!(candidates(&mut b, 1).await, [2]);
    assert_eq!(a.event("peer.state").await["state"], "back");
    assert_eq!(b.ask("signal", description(&pair, 1, "answer")).await["ok"], true);
    assert_eq!(a.event("signal").await["description"]["type"], "answer");

    // Both sides of a pair of the node that stopped, each at another node.
    let (mut c, resumed) = one.resume(&c).await;
    assert_eq!((&resumed["state"], &resumed["pair"]), (&json!("active"), &json!(inner)));
    assert_eq!(c.ask("signal", description(&inner, 1, "offer")).await["ok"], true);
    let (mut d, _) = three.resume(&d).await;
    assert_eq!(d.event("signal").await["description"]["type"], "offer");
    assert_eq!(d.ask("signal", description(&inner, 1, "answer")).await["ok"], true);
    assert_eq!(c.event("signal").await["description"]["type"], "answer");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_redis_is_away_pairs_go_on_and_each_node_matches_its_own() {
    let redis = Redis::start().await;
    let [one, other] = fleet(&redis).await;
    let (mut a, mut b, pair) = pair(&redis, &one, &other).await;
    let mut waiting = other.connect().await;
    waiting.ask("queue.join", join()).await;
    waiting.event("queue.state").await;
    redis.pause();
    let paused = Instant::now();
    assert_eq!(a.ask("signal", description(&pair, 1, "offer")).await["ok"], true);
    until_redis_is(&one, "down").await;
    until_redis_is(&other, "down").await;
    for seq in 2..=20 {
        assert_eq!(a.ask("signal", candidate(&pair, seq)).await["ok"], true);
    }
    let (mut c, mut d) = (one.connect().await, one.connect().await);
    c.ask("queue.join", join()).await;
    d.ask("queue.join", join()).await;
    meet(&mut c, &mut d).await;
    let mut e = one.connect().await;
    e.ask("queue.join", join()).await;
    tokio::time::sleep(Duration::from_secs(5).saturating_sub(paused.elapsed())).await;
    redis.go_on();
    let back = Instant::now();
    // All at once: who reads nothing for a while answers no ping.
    let negotiated = async {
        assert_eq!(b.event("signal").await["description"]["type"], "offer");
        assert_eq!(candidates(&mut b, 19).await, (2..=20).collect::<Vec<_>>());
        assert_eq!(b.ask("signal", description(&pair, 1, "answer")).await["ok"], true);
    };
    let (to_a, to_waiting, to_e, ()) =
        tokio::join!(a.event("signal"), waiting.event("match.found"), e.event("match.found"), negotiated);
    assert_eq!(to_a["description"]["type"], "answer");
    assert_eq!(to_waiting["pair"], to_e["pair"]);
    println!("all is well {:.1?} after Redis was back", back.elapsed());
    assert!(back.elapsed() < Duration::from_secs(10), "5 s on a quiet machine: {:?}", back.elapsed());
    let metrics = one.metrics().await;
    assert!(metrics.contains("turnpike_redis_up 1"), "{metrics}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_that_forgets_everything_is_told_again() {
    let mut redis = Redis::start().await;
    let [one, other] = fleet(&redis).await;
    let (mut a, mut b, pair) = pair(&redis, &one, &other).await;
    let mut waiting = one.connect().await;
    waiting.ask("queue.join", json!({"mode": "video", "interests": ["chess"], "privacy": "all"})).await;
    waiting.event("queue.state").await;
    redis.restart().await;
    let back = Instant::now();
    let mut c = other.connect().await;
    c.ask("queue.join", json!({"mode": "video", "interests": ["chess"], "privacy": "all"})).await;
    let found = waiting.event("match.found").await;
    assert_eq!(c.event("match.found").await["pair"], found["pair"]);
    assert!(back.elapsed() < Duration::from_secs(5), "{:?}", back.elapsed());
    assert_eq!(a.ask("signal", description(&pair, 1, "offer")).await["ok"], true);
    assert_eq!(b.event("signal").await["description"]["type"], "offer");
    // Nothing is left of people who have gone, and nothing without an end.
    for client in [a, b, c, waiting] {
        let mut client = client;
        client.ask("bye", json!({})).await;
    }
    let began = Instant::now();
    loop {
        let left = redis.ask("KEYS fleet:*").await;
        let kinds = ["fleet:at:", "fleet:resume:", "fleet:s:", "fleet:waiting:", "fleet:line:"];
        if !kinds.iter().any(|kind| left.contains(kind)) {
            break;
        }
        assert!(began.elapsed() < SOON, "{left}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failover_by_sentinel_loses_no_pair_and_nobody_who_waits() {
    let mut master = Redis::start().await;
    let port = master.port().to_string();
    let replica = Redis::start_as(&["--replicaof", "127.0.0.1", &port]).await;
    let sentinel = Sentinel::start(master.port()).await;
    sentinel.until_it_knows_a_replica().await;
    let url = format!("redis+sentinel://127.0.0.1:{}/main", sentinel.port);
    let (one, other) = (node(&url).await, node(&url).await);
    let (mut a, mut b, pair) = pair(&master, &one, &other).await;
    let mut waiting = one.connect().await;
    waiting.ask("queue.join", join()).await;
    waiting.event("queue.state").await;
    master.kill();
    let killed = Instant::now();
    assert_eq!(a.ask("signal", description(&pair, 1, "offer")).await["ok"], true);
    assert_eq!(b.event("signal").await["description"]["type"], "offer");
    println!("a signal came {:.1?} after the master was killed", killed.elapsed());
    assert!(replica.ask("ROLE").await.contains("master"));
    let mut c = other.connect().await;
    c.ask("queue.join", join()).await;
    meet(&mut waiting, &mut c).await;
}

struct Sentinel {
    port: u16,
    process: std::process::Child,
    _folder: tempfile::TempDir,
}

impl Sentinel {
    async fn start(master: u16) -> Self {
        let (port, folder) = (free_port(), tempfile::tempdir().unwrap());
        let file = folder.path().join("sentinel.conf");
        let text = format!(
            "port {port}\nbind 127.0.0.1\ndir {}\nsentinel monitor main 127.0.0.1 {master} 1\n\
             sentinel down-after-milliseconds main 500\nsentinel failover-timeout main 2000\n",
            folder.path().display()
        );
        std::fs::write(&file, text).unwrap();
        let process = std::process::Command::new("redis-sentinel")
            .arg(&file)
            .stdout(std::process::Stdio::null())
            .spawn()
            .expect("Debian's redis-sentinel is there: make test installs it");
        redis_server::until_it_answers(port).await;
        Self { port, process, _folder: folder }
    }

    async fn until_it_knows_a_replica(&self) {
        let began = Instant::now();
        while !redis_server::ask(self.port, "SENTINEL master main")
            .await
            .unwrap()
            .contains("num-slaves\r\n$1\r\n1")
        {
            assert!(began.elapsed() < SOON, "sentinel knows no replica");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

impl Drop for Sentinel {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
