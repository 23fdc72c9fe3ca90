//! The budget: a relay walks through its steps under real traffic, and keeps where it is over a restart.

use std::{
    io::{Read as _, Write as _},
    net::{Ipv4Addr, TcpListener, UdpSocket},
    process::Command,
    sync::{Arc, Mutex},
    thread,
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use turnpike_relay_api::{
    admin::{STATUS, Status},
    cost::{BUDGET, Budget, Step, StepChange},
};
use turnpike_turn_client::{Allocation, Credentials, Error, Writer, method};

use crate::{
    http,
    node::{Node, SECRET, Site, in_an_hour},
    session::Client,
};

const MIB: u64 = 1 << 20;
const PAYLOAD: usize = 1_200;
/// What has not come by then was dropped.
const LOST_AFTER: Duration = Duration::from_millis(50);
const PATIENCE: Duration = Duration::from_secs(60);

/// A client and the peer that it sends to.
struct Sender {
    allocation: Allocation,
    peer: UdpSocket,
}

impl Sender {
    fn new(site: &Site) -> Self {
        let peer = UdpSocket::bind("127.0.0.1:0").unwrap();
        peer.set_read_timeout(Some(LOST_AFTER)).unwrap();
        let mut allocation = site.allocate_as(credentials()).unwrap();
        allocation.bind(peer.local_addr().unwrap()).unwrap();
        Self { allocation, peer }
    }

    /// Sends so many datagrams, each when the one before has arrived, and gives how many did.
    fn send(&mut self, count: usize) -> usize {
        let mut buffer = [0; 2_000];
        let address = self.peer.local_addr().unwrap();
        let mut arrives = |_: &usize| {
            self.allocation.send(address, &[7; PAYLOAD]).unwrap();
            self.peer.recv(&mut buffer).is_ok()
        };
        (0..count).filter(|nth| arrives(nth)).count()
    }
}

fn credentials() -> Credentials {
    Credentials::mint(SECRET.as_bytes(), in_an_hour(), "alice")
}

fn site() -> Site {
    Site::new(Ipv4Addr::LOCALHOST, "allow_peers = [\"127.0.0.1/32\"]\ndrain_timeout = \"0s\"")
}

fn command(site: &Site, service: &str, on_exhausted: &str) -> Command {
    let mut command = site.command(&[service]);
    command
        .env("TURNPIKE_BUDGET__PER_PERIOD", "100MiB")
        .env("TURNPIKE_BUDGET__DEGRADED_BITRATE", "20Mbit")
        .env("TURNPIKE_BUDGET__ON_EXHAUSTED", on_exhausted)
        .env("TURNPIKE_MINT__ANONYMOUS", "true")
        .env("TURNPIKE_MINT__PER_IP_PER_MINUTE", "1000")
        .env("TURNPIKE_MINT__PER_IP_PER_HOUR", "1000");
    command
}

fn step(site: &Site) -> Step {
    let status: Status = site.admin(STATUS);
    status.budget.unwrap().step
}

/// Sends until a step is reached that begins at a part of the budget, without going far beyond.
fn until(site: &Site, sender: &mut Sender, wanted: Step, begins_at: f64) {
    until_of(100 * MIB, site, sender, wanted, begins_at);
}

fn until_of(budget: u64, site: &Site, sender: &mut Sender, wanted: Step, begins_at: f64) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let before: Status = site.admin(STATUS);
        let spent = before.budget.unwrap();
        if spent.step >= wanted {
            return assert_eq!(spent.step, wanted);
        }
        assert!(Instant::now() < deadline, "still at {spent:?}");
        let missing = (begins_at - spent.ratio) * budget as f64 / (PAYLOAD as f64 + 28.0);
        let arrived = sender.send((missing as usize).clamp(100, 20_000)) as u64;
        // What it counts is published once a second.
        let is_counted =
            |status: &Status| status.traffic.peer_out.packets >= before.traffic.peer_out.packets + arrived;
        while !is_counted(&site.admin(STATUS)) {
            thread::sleep(Duration::from_millis(20));
        }
    }
}

/// What a webhook is posted. It takes nothing at first.
struct Hook {
    url: String,
    posts: Arc<Mutex<Vec<StepChange>>>,
}

impl Hook {
    fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/hooks/a-token", listener.local_addr().unwrap());
        let posts = Arc::<Mutex<Vec<StepChange>>>::default();
        let kept = Arc::clone(&posts);
        thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let (mut request, mut piece) = (Vec::new(), [0; 4_096]);
                let change = loop {
                    let length = stream.read(&mut piece).unwrap();
                    request.extend_from_slice(&piece[..length]);
                    let text = String::from_utf8_lossy(&request).into_owned();
                    let body = text.split_once("\r\n\r\n").map_or("", |(_, body)| body);
                    if let Ok(change) = serde_json::from_str(body) {
                        break change;
                    }
                };
                let mut kept = kept.lock().unwrap();
                let status = if kept.is_empty() { 503 } else { 204 };
                kept.push(change);
                write!(stream, "HTTP/1.1 {status} x\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
                    .unwrap();
            }
        });
        Self { url, posts }
    }

    fn until(&self, steps: &[(Step, Step)]) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let posts = self.posts.lock().unwrap().clone();
            let seen: Vec<_> = posts.iter().map(|post| (post.before, post.step)).collect();
            if seen == steps {
                return;
            }
            assert!(Instant::now() < deadline && seen.len() < steps.len(), "{posts:#?}");
            thread::sleep(Duration::from_millis(50));
        }
    }
}

#[test]
fn a_relay_of_100_mib_warns_degrades_stops_keeps_it_over_a_restart_and_goes_on_with_stun() {
    let site = site();
    let hook = Hook::new();
    let command = |site: &Site, service: &str, on_exhausted: &str| {
        let mut command = command(site, service, on_exhausted);
        command.env("TURNPIKE_BUDGET__WEBHOOK", &hook.url);
        command
    };
    let restarted = |node: Node| node.restart_by(|site| command(site, "run", "refuse"));
    let run = command(&site, "run", "refuse");
    let mut node = site.start_by(run);
    let site = &node.site;
    let mut sender = Sender::new(site);
    assert_eq!(step(site), Step::Ok);
    assert_eq!(http::get(site.relay_metrics, "/readyz"), "ready\nbudget: ok, 0 % spent\n");

    until(site, &mut sender, Step::Warn, 0.80);
    assert_eq!(warned(&node, "budget_warn")["spent_percent"].as_f64().unwrap() as u64 / 10, 8);
    assert_eq!(sender.send(50), 50, "a warning slows nobody down");
    hook.until(&[(Step::Ok, Step::Warn); 2]);
    let told = hook.posts.lock().unwrap()[1].clone();
    assert!(told.text.starts_with("node-1: 8") && told.text.contains("(warn)"), "{told:?}");
    assert_eq!((told.limit_bytes, told.node.as_str()), (Some(100 * MIB), "node-1"));
    let before: Budget = site.admin(BUDGET);
    assert!(before.spent.unwrap().ratio >= 0.8, "{before:?}");

    // In between it is restarted, and goes on where it was.
    node.terminate();
    assert!(node.exit(Duration::from_secs(20)).success());
    let mut node = restarted(node);
    let after: Budget = node.admin(BUDGET);
    assert_eq!(after.spent.unwrap().step, Step::Warn);
    assert!(after.cost.billed_bytes >= before.cost.billed_bytes, "{before:?} {after:?}");
    let mut sender = Sender::new(&node.site);

    until(&node.site, &mut sender, Step::Degrade, 0.95);
    assert_eq!(warned(&node, "budget_degrade")["bits_per_second"], 20_000_000);
    let metrics = http::get(node.site.relay_metrics, "/metrics");
    assert!(metrics.contains("\nturnpike_budget_step 2\n"), "{metrics}");
    assert_slow(&mut sender);
    let mut late = Sender::new(&node.site);
    assert_slow(&mut late);
    assert!(mints(&node), "credentials are minted");

    until(&node.site, &mut sender, Step::Stop, 1.0);
    warned(&node, "budget_stop");
    let refused = node.allocate_as(credentials());
    assert!(matches!(refused, Err(Error::Refused { code: 508 })), "{:?}", refused.err());
    assert!(sender.send(5) > 0, "live allocations go on");
    sender.allocation.refresh(None).unwrap();
    let deadline = Instant::now() + PATIENCE;
    while mints(&node) {
        assert!(Instant::now() < deadline, "credentials are still minted");
        thread::sleep(Duration::from_millis(100));
    }
    assert!(http::get(node.site.relay_metrics, "/readyz").starts_with("ready\nbudget: stop, 10"));
    assert_budget_command(&node);
    assert_eq!(told_to_clients(&node), "stop");

    node.terminate();
    assert!(node.exit(Duration::from_secs(20)).success());
    let node = restarted(node);
    let refused = node.allocate_as(credentials());
    assert!(matches!(refused, Err(Error::Refused { code: 508 })), "{:?}", refused.err());
    let answer = node.connect().ask(Writer::request(method::BINDING).bytes()).unwrap();
    assert!(answer.is_answer(), "STUN goes on");
    let (ok, warn, degrade, stop) = (Step::Ok, Step::Warn, Step::Degrade, Step::Stop);
    // The first was not taken, and a start tells what holds.
    hook.until(&[(ok, warn), (ok, warn), (warn, warn), (warn, degrade), (degrade, stop), (stop, stop)]);
}

#[test]
fn a_step_that_holds_is_not_taken_back_by_a_kill_9() {
    let site = site();
    let start = |site: &Site| {
        let mut relay = command(site, "relay", "refuse");
        relay.env("TURNPIKE_BUDGET__PER_PERIOD", "10MiB").env("TURNPIKE_USAGE__INTERIM", "1m");
        site.start_beside_by(relay)
    };
    let mut relay = start(&site);
    for (wanted, begins_at) in [(Step::Warn, 0.80), (Step::Degrade, 0.95), (Step::Stop, 1.0)] {
        let mut sender = Sender::new(&site);
        until_of(10 * MIB, &site, &mut sender, wanted, begins_at);
        relay.kill();
        relay = start(&site);
        assert_eq!(step(&site), wanted, "the ledger is written once a minute, and whenever a step changes");
    }
    let refused = site.allocate_as(credentials());
    assert!(matches!(refused, Err(Error::Refused { code: 508 })), "{:?}", refused.err());
}

#[test]
fn a_budget_of_money_counts_what_the_traffic_costs() {
    let site = site();
    let mut relay = command(&site, "relay", "refuse");
    relay
        .env("TURNPIKE_BUDGET__PER_PERIOD", "money:5")
        .env("TURNPIKE_COST__BASE_PER_PERIOD", "4")
        .env("TURNPIKE_COST__TIERS", "[{ per_gb = 1000.0 }]");
    let node = site.start_by(relay);
    assert_eq!(step(&node.site), Step::Warn, "4 of 5 are spent before anything flows");
    let mut sender = Sender::new(&node.site);
    let deadline = Instant::now() + PATIENCE;
    while step(&node.site) < Step::Stop {
        assert!(Instant::now() < deadline);
        sender.send(100);
    }
    let spent: Budget = node.admin(BUDGET);
    let (bytes, price) = (spent.cost.billed_bytes as f64, spent.cost.price.unwrap());
    assert_eq!(spent.limit_money, Some(5.0));
    assert!((price.traffic - bytes * 1e-6).abs() < 1e-3 && price.traffic >= 1.0, "{price:?} for {bytes}");
    assert!(spent.spent.unwrap().ratio >= 1.0);
}

#[test]
fn where_it_says_cut_live_allocations_end_when_all_is_spent() {
    let site = site();
    let mut relay = command(&site, "relay", "cut");
    relay.env("TURNPIKE_BUDGET__PER_PERIOD", "1MiB");
    let node = site.start_by(relay);
    let mut sender = Sender::new(&node.site);
    let deadline = Instant::now() + PATIENCE;
    while step(&node.site) < Step::Stop {
        assert!(Instant::now() < deadline);
        sender.send(100);
    }
    let closed = node.log.wait_for("allocation closed");
    assert_eq!(closed["cause"], "quota");
    assert_eq!(sender.send(1), 0);
}

fn warned(node: &Node, code: &str) -> Value {
    node.log.wait_until(|lines| lines.iter().find(|line| line["code"] == code).cloned())
}

/// As many datagrams as 20 Mbit/s never are: some are dropped.
/// The step that `hello` tells a client of.
fn told_to_clients(node: &Node) -> String {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let mut client = Client::open(&node.site.http.to_string(), &json!({"v": 1})).await;
        client.event("hello").await["limits"]["budget"].as_str().unwrap_or("none").to_owned()
    })
}

fn assert_slow(sender: &mut Sender) {
    let address = sender.peer.local_addr().unwrap();
    // Shards look at the budget once a second.
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        let begun = Instant::now();
        for _ in 0..2_000 {
            sender.allocation.send(address, &[7; PAYLOAD]).unwrap();
        }
        let mut buffer = [0; 2_000];
        sender.peer.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
        let mut arrived = 0_u64;
        while sender.peer.recv(&mut buffer).is_ok() {
            arrived += 1;
        }
        sender.peer.set_read_timeout(Some(LOST_AFTER)).unwrap();
        let most = 20e6 / 8.0 * (begun.elapsed().as_secs_f64() + 0.5);
        if arrived * (PAYLOAD as u64 + 28) < 2_000 * (PAYLOAD as u64 + 28)
            && (arrived as f64) * 1_228.0 <= most + 2e4
        {
            return;
        }
        assert!(Instant::now() < deadline, "{arrived} of 2000 came");
    }
}

/// Whether signaling gives a TURN credential.
fn mints(node: &Node) -> bool {
    http::get(node.site.http, "/v1/ice").contains("\"credential\"")
}

fn assert_budget_command(node: &Node) {
    let output = node.site.command(&["budget"]).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.starts_with("FAIL  budget") && text.contains("of 105 MB, 10"), "{text}");
    assert!(text.contains("stop: no credentials, no new allocations (508); STUN goes on"), "{text}");
    let spent: Budget = node.admin(BUDGET);
    assert!(spent.cost.billed_bytes >= 100 * MIB);
}
