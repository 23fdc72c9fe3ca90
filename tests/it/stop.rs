//! The first SIGTERM drains, the second ends.

use std::{
    collections::BTreeSet,
    net::UdpSocket,
    time::{Duration, Instant},
};

use serde_json::Value;
use turnpike_turn_client::{Allocation, Credentials, Error};

use crate::node::{Node, SECRET, in_an_hour};

#[test]
fn the_first_sigterm_serves_what_lives_and_the_second_ends_it() {
    let mut node = Node::relay("drain_timeout = \"1h\"");
    let mut first = node.allocate("alice");
    let second = node.allocate("bob");
    let opened = opened(&node, 2);
    node.terminate();
    let draining = "draining: new allocations are refused";
    assert_eq!(node.log.wait_for(draining)["allocations"], 2);

    let refused = node.allocate_as(Credentials::mint(SECRET.as_bytes(), in_an_hour(), "carol"));
    assert!(matches!(refused, Err(Error::Refused { code: 508 })), "{:?}", refused.err());
    assert_echo(&mut first);
    first.refresh(None).unwrap();

    let asked = Instant::now();
    node.terminate();
    assert!(node.exit(Duration::from_secs(2)).success());
    assert!(asked.elapsed() < Duration::from_secs(2));
    assert_eq!(closed(&node, "shutdown"), opened);
    drop(second);
}

#[test]
fn a_drain_ends_at_its_deadline() {
    let mut node = Node::relay("drain_timeout = \"1s\"");
    let allocations = [node.allocate("alice"), node.allocate("bob"), node.allocate("carol")];
    let opened = opened(&node, 3);
    let asked = Instant::now();
    node.terminate();
    assert!(node.exit(Duration::from_secs(10)).success());
    assert!(asked.elapsed() >= Duration::from_secs(1), "the clients had their second");
    assert_eq!(closed(&node, "drain"), opened);
    drop(allocations);
}

#[test]
fn a_drain_ends_with_the_last_allocation() {
    let mut node = Node::relay("drain_timeout = \"1h\"");
    let allocation = node.allocate("alice");
    let opened = opened(&node, 1);
    node.terminate();
    node.log.wait_for("draining: new allocations are refused");
    allocation.close().unwrap();
    assert!(node.exit(Duration::from_secs(10)).success());
    assert_eq!(closed(&node, "client"), opened);
}

fn assert_echo(allocation: &mut Allocation) {
    let peer = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = peer.local_addr().unwrap();
    allocation.bind(address).unwrap();
    allocation.send(address, b"still there?").unwrap();
    let mut buffer = [0; 64];
    let (length, from) = peer.recv_from(&mut buffer).unwrap();
    peer.send_to(&buffer[..length], from).unwrap();
    let answer = allocation.receive(Duration::from_secs(5)).unwrap().expect("the answer comes back");
    assert_eq!(answer.payload, b"still there?");
}

fn id(line: &Value) -> String {
    line["id"].as_str().unwrap().to_owned()
}

/// The ids of the allocations, once as many are in the log.
fn opened(node: &Node, count: usize) -> BTreeSet<String> {
    node.log.wait_until(|lines| {
        let opened = lines.iter().filter(|line| line["message"] == "allocation opened");
        let ids: BTreeSet<String> = opened.map(id).collect();
        (ids.len() == count).then_some(ids)
    })
}

/// The ids of the allocations that a node which has ended has closed, each once and for this cause.
fn closed(node: &Node, cause: &str) -> BTreeSet<String> {
    let lines = node.log.at_end("allocation closed");
    assert!(lines.iter().all(|line| line["cause"] == cause), "{lines:#?}");
    let ids: BTreeSet<String> = lines.iter().map(id).collect();
    assert_eq!(ids.len(), lines.len(), "each is closed once: {lines:#?}");
    ids
}
