//! How many series a node has, whoever has come and gone.
//!
//! A node is one machine with everything on: what a Prometheus scrapes from the relay and from signaling together, with TLS,
//! both IP families, prices, a comparison, two tenants, a budget, Redis and the self-test.

use std::{
    net::{Ipv4Addr, SocketAddr, UdpSocket},
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use turnpike_turn_client::{AllocateOptions, Allocation, Credentials, Error, Transport};

use crate::{
    http,
    node::{Node, SECRET, Site, in_an_hour},
    redis::Redis,
    session::Client,
};

const MOST: usize = 400;
const USERS: usize = 1_000;
const CROWDS: usize = 4;
const PATIENCE: Duration = Duration::from_secs(60);

fn node(redis: &Redis) -> Node {
    let keys = "allow_peers = [\"127.0.0.1/32\"]\ndrain_timeout = \"0s\"";
    let site = Site::new(Ipv4Addr::LOCALHOST, keys).with_tls().with_ipv6();
    let mut command = site.command(&["run"]);
    command
        .env("TURNPIKE_REDIS__URL", redis.url())
        .env("TURNPIKE_METRICS__TENANTS", "[\"shop\", \"blog\"]")
        .env("TURNPIKE_METRICS__SELFTEST", "1s")
        .env("TURNPIKE_COST__PRESET", "vultr")
        .env("TURNPIKE_COST__COMPARE", "[{ vendor = \"cloudflare\" }]")
        .env("TURNPIKE_BUDGET__PER_PERIOD", "900GiB");
    site.start_by(command)
}

/// Of both services, sorted.
fn series(node: &Node) -> Vec<String> {
    let texts = [node.site.relay_metrics, node.site.signaling_metrics].map(|at| http::get(at, "/metrics"));
    let lines = texts.iter().flat_map(|text| text.lines()).filter(|line| !line.starts_with('#'));
    let mut series: Vec<String> = lines.map(|line| line.rsplit_once(' ').unwrap().0.to_owned()).collect();
    series.sort();
    series
}

fn until_tested(node: &Node) {
    let deadline = Instant::now() + PATIENCE;
    let is_through = |transport: &str| {
        let line = format!("turnpike_selftest_success{{transport=\"{transport}\"}} 1");
        http::get(node.site.relay_metrics, "/metrics").lines().any(|found| found == line)
    };
    while !["udp", "tcp", "tls"].into_iter().all(is_through) {
        assert!(Instant::now() < deadline, "the relay does not reach itself");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Two strangers who meet, talk by way of the relay, and part.
async fn two_users(node: &Node, nth: usize, peer: &UdpSocket) {
    let address = node.site.http.to_string();
    let (mut one, mut two) = (Client::connect(&address).await, Client::connect(&address).await);
    let mode = if nth.is_multiple_of(5) { "text" } else { "video" };
    for client in [&mut one, &mut two] {
        let join = json!({"mode": mode, "interests": [format!("interest-{nth}")], "privacy": "all"});
        assert_eq!(client.ask("queue.join", join).await["ok"], true);
    }
    let found = one.event("match.found").await;
    let pair = found["pair"].as_str().unwrap().to_owned();
    assert_eq!(two.event("match.found").await["pair"], pair);
    for client in [&mut one, &mut two] {
        assert_eq!(client.ask("match.accept", json!({"pair": pair})).await["ok"], true);
    }
    one.event("match.start").await;
    one.send(&format!("event-{nth}"), json!({})).await;
    let servers = found["ice"]["iceServers"].as_array().unwrap();
    let turn = servers.iter().find(|server| !server["username"].is_null()).unwrap();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let credentials = [
        Credentials::new(text(&turn["username"]), text(&turn["credential"])),
        Credentials::mint(SECRET.as_bytes(), in_an_hour(), &format!("tenant-{nth}.user-{nth}")),
    ];
    for credentials in credentials {
        let transport = [Transport::Udp, Transport::Tcp, Transport::Tls][nth % 3];
        let connection = node.connect_over(transport);
        let mut allocation =
            Allocation::open(connection, credentials, None, &AllocateOptions::default()).unwrap();
        relay(&mut allocation, peer);
        allocation.close().unwrap();
    }
    assert_eq!(two.ask("match.leave", json!({"pair": pair})).await["ok"], true);
    one.event("match.ended").await;
    for client in [&mut one, &mut two] {
        client.send("bye", json!({})).await;
    }
}

fn relay(allocation: &mut Allocation, peer: &UdpSocket) {
    let address = peer.local_addr().unwrap();
    allocation.permit(&[address.ip()]).unwrap();
    allocation.send_indication(address, b"hello").unwrap();
    let (_, from) = peer.recv_from(&mut [0; 100]).unwrap();
    peer.send_to(b"hello", from).unwrap();
    assert!(allocation.receive(Duration::from_secs(10)).unwrap().is_some());
}

/// Pairs one after the other, while other crowds do the same.
fn come_and_go(node: &Node, pairs: impl Iterator<Item = usize>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let peer = UdpSocket::bind("127.0.0.1:0").unwrap();
    peer.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    for nth in pairs {
        runtime.block_on(two_users(node, nth, &peer));
    }
}

/// What no user does, under names of its own.
fn strange_things(node: &Node, nth: usize) {
    let wrong = Credentials::new(format!("{}:user-{nth}", in_an_hour()), "wrong");
    assert!(matches!(node.allocate_as(wrong), Err(Error::Refused { code: 401 })));
    let mut allocation = node.allocate(&format!("strange-{nth}"));
    assert!(matches!(
        allocation.bind(SocketAddr::from(([10, 0, 0, 1], 9))),
        Err(Error::Refused { code: 403 })
    ));
    allocation.close().unwrap();
    http::post(node.site.http, &format!("/v1/ice?{nth}"), &format!("key-{nth}"), "{}");
    http::delete(node.site.http, &format!("/v1/ice/credential-{nth}"), "no key");
    http::delete(node.site.http, &format!("/no/route/{nth}"), "no key");
}

#[test]
fn a_thousand_users_come_and_go_and_leave_no_series_behind() {
    let redis = Redis::start();
    let node = node(&redis);
    until_tested(&node);
    let before = series(&node);
    std::thread::scope(|scope| {
        for crowd in 0..CROWDS {
            let node = &node;
            scope.spawn(move || come_and_go(node, (crowd..USERS / 2).step_by(CROWDS)));
        }
    });
    (0..20).for_each(|nth| strange_things(&node, nth));

    let deadline = Instant::now() + PATIENCE;
    let has = |line: &str| {
        let found = |address| http::get(address, "/metrics").lines().any(|found| found == line);
        [node.site.relay_metrics, node.site.signaling_metrics].into_iter().any(found)
    };
    while !(has("turnpike_sockets{transport=\"websocket\"} 0")
        && has("turnpike_allocation_duration_seconds_count 1020"))
    {
        assert!(Instant::now() < deadline, "they have not all gone");
        std::thread::sleep(Duration::from_millis(100));
    }
    assert!(has("turnpike_pairs_created_total{scope=\"local\"} 500"));
    let after = series(&node);
    assert_eq!(after, before);
    assert!(after.len() < MOST, "{} series: {after:#?}", after.len());
}
