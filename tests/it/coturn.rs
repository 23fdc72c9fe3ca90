//! coturn's own client against this relay: the Debian package `coturn`.

use std::{
    net::{IpAddr, Ipv4Addr, UdpSocket},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use turnpike_relay_api::admin::{STATUS, Status};

use crate::node::{Node, SECRET, Site};

const CLIENTS: u64 = 2;
const MESSAGES: u64 = 20;

/// coturn picks channel numbers up to 0x7FFF.
fn relay() -> Node {
    Node::relay("rfc5766_channel_numbers = true")
}

#[test]
fn udp_through_channels_loses_nothing() {
    let mut node = relay();
    let peer = Peer::start(&mut node, "127.0.0.1");
    assert_all_arrive(&node, &["-e", "127.0.0.1", "-r", &peer.port()]);
}

#[test]
fn udp_through_send_indications_loses_nothing() {
    let mut node = relay();
    let peer = Peer::start(&mut node, "127.0.0.1");
    assert_all_arrive(&node, &["-s", "-e", "127.0.0.1", "-r", &peer.port()]);
}

#[test]
fn client_to_client_through_channels_never_leaves_the_process() {
    let node = relay();
    assert_all_arrive(&node, &["-y"]);
    assert!(traffic_of(&node).hairpin.packets >= CLIENTS * MESSAGES);
}

#[test]
fn client_to_client_through_send_indications_loses_nothing() {
    assert_all_arrive(&relay(), &["-y", "-s"]);
}

#[test]
fn tcp_through_channels_loses_nothing() {
    let mut node = relay();
    let peer = Peer::start(&mut node, "127.0.0.1");
    assert_all_arrive(&node, &["-t", "-e", "127.0.0.1", "-r", &peer.port()]);
}

#[test]
fn tcp_through_send_indications_loses_nothing() {
    let mut node = relay();
    let peer = Peer::start(&mut node, "127.0.0.1");
    assert_all_arrive(&node, &["-t", "-s", "-e", "127.0.0.1", "-r", &peer.port()]);
}

#[test]
fn tcp_client_to_client_loses_nothing() {
    assert_all_arrive(&relay(), &["-t", "-y"]);
}

/// The same relay with TLS.
fn secure_relay() -> Node {
    let keys = "allow_peers = [\"127.0.0.1/32\"]\nrfc5766_channel_numbers = true";
    Site::new(Ipv4Addr::LOCALHOST, keys).with_tls().start("relay")
}

#[test]
fn tls_through_channels_loses_nothing() {
    let mut node = secure_relay();
    let peer = Peer::start(&mut node, "127.0.0.1");
    assert_all_arrive(&node, &["-t", "-S", "-e", "127.0.0.1", "-r", &peer.port()]);
}

#[test]
fn tls_client_to_client_through_send_indications_loses_nothing() {
    assert_all_arrive(&secure_relay(), &["-t", "-S", "-y", "-s"]);
}

/// A relay of both families.
fn dual_relay() -> Node {
    let keys = "allow_peers = [\"127.0.0.1\", \"::1\"]\nrfc5766_channel_numbers = true";
    Site::new(Ipv4Addr::LOCALHOST, keys).with_ipv6().start("relay")
}

#[test]
fn ipv6_through_channels_loses_nothing() {
    let mut node = dual_relay();
    let peer = Peer::start(&mut node, "::1");
    assert_all_arrive_at(&node, "::1", &["-x", "-e", "::1", "-r", &peer.port()]);
}

#[test]
fn ipv6_through_send_indications_that_may_not_be_fragmented_loses_nothing() {
    let mut node = dual_relay();
    let peer = Peer::start(&mut node, "::1");
    assert_all_arrive_at(&node, "::1", &["-x", "-s", "-g", "-e", "::1", "-r", &peer.port()]);
}

#[test]
fn ipv6_client_to_client_never_leaves_the_process() {
    let node = dual_relay();
    assert_all_arrive_at(&node, "::1", &["-x", "-y"]);
    assert!(traffic_of(&node).hairpin.packets >= CLIENTS * MESSAGES);
}

#[test]
fn a_client_over_ipv4_relays_over_ipv6_and_the_other_way_round() {
    let mut node = dual_relay();
    let (v4, v6) = (Peer::start(&mut node, "127.0.0.1"), Peer::start(&mut node, "::1"));
    assert_all_arrive(&node, &["-x", "-e", "::1", "-r", &v6.port()]);
    assert_all_arrive_at(&node, "::1", &["-X", "-e", "127.0.0.1", "-r", &v4.port()]);
}

fn assert_all_arrive(node: &Node, options: &[&str]) {
    assert_all_arrive_at(node, "127.0.0.1", options);
}

/// Runs `turnutils_uclient` at one message each 5 ms a client, and compares with the relay's own count.
fn assert_all_arrive_at(node: &Node, server: &str, options: &[&str]) {
    let is_tls = options.contains(&"-S");
    let port = if is_tls { node.site.tls.unwrap().port() } else { node.site.turn.port() };
    let output = Command::new("turnutils_uclient")
        .args(["-u", "alice", "-W", SECRET, "-p", &port.to_string()])
        .args(["-m", &CLIENTS.to_string(), "-n", &MESSAGES.to_string(), "-z", "5"])
        .args(options)
        .arg(server)
        .output()
        .expect("turnutils_uclient of the Debian package coturn is installed");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}");
    let expected = CLIENTS * MESSAGES;
    // The last of these lines is the total; with `-y` coturn makes a pair of each client, and so sends more.
    let (sent, received) = said
        .rsplit_once("tot_send_msgs=")
        .and_then(|(_, rest)| rest.lines().next()?.split_once(", tot_recv_msgs="))
        .expect(&said);
    assert!(sent == received && sent.parse::<u64>().unwrap() >= expected, "{said}");
    assert!(said.contains("Total lost packets 0 (0.000000%), total send dropped 0 (0.000000%)"), "{said}");
    // The relay publishes its counters once a second.
    let deadline = Instant::now() + Duration::from_secs(5);
    loop {
        let traffic = traffic_of(node);
        let flows = [traffic.peer_out, traffic.client_in, traffic.client_out];
        if flows.iter().all(|flow| flow.packets >= expected) {
            return;
        }
        assert!(Instant::now() < deadline, "{traffic:?}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn traffic_of(node: &Node) -> turnpike_relay_api::admin::Traffic {
    node.admin::<Status>(STATUS).traffic
}

/// `turnutils_peer`, which sends back what it gets.
struct Peer {
    process: Child,
    port: u16,
    ip: IpAddr,
}

impl Peer {
    fn start(node: &mut Node, ip: &str) -> Self {
        let port = node.site.ports.listener();
        let process = Command::new("turnutils_peer")
            .args(["-p", &port.to_string(), "-L", ip])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("turnutils_peer of the Debian package coturn is installed");
        let peer = Self { process, port, ip: ip.parse().unwrap() };
        peer.wait_for_echo();
        peer
    }

    fn port(&self) -> String {
        self.port.to_string()
    }

    fn wait_for_echo(&self) {
        let socket = UdpSocket::bind((self.ip, 0)).unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
        let deadline = Instant::now() + Duration::from_secs(10);
        loop {
            // Refused until the peer has bound its port.
            let echoed = socket.send_to(b"are you there", (self.ip, self.port)).is_ok()
                && socket.recv(&mut [0; 64]).is_ok();
            if echoed {
                return;
            }
            assert!(Instant::now() < deadline, "turnutils_peer does not answer");
        }
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
