//! What `turnpike probe` finds, in servers that are in order and in those that are not.

use std::{
    fs,
    io::Write as _,
    net::{Ipv4Addr, TcpListener, UdpSocket},
    process::{Child, Command, Output, Stdio},
    time::{Duration, Instant},
};

use serde_json::Value;
use tempfile::TempDir;

use crate::{
    authority::DOMAIN,
    node::{Node, SECRET, Site, turnpike},
    ports::Ports,
};

fn probe(arguments: &[&str]) -> Output {
    probe_by(turnpike(&["probe", "--seconds", "0.3"]), arguments)
}

fn probe_by(mut command: Command, arguments: &[&str]) -> Output {
    command.args(arguments).output().unwrap()
}

/// One JSON object a way.
fn ways(output: &Output) -> Vec<Value> {
    let text = String::from_utf8(output.stdout.clone()).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn verdicts(way: &Value) -> Vec<String> {
    let findings = way["findings"].as_array().unwrap().iter();
    findings.map(|finding| format!("{} {}", finding["verdict"], finding["check"]).replace('"', "")).collect()
}

const IN_ORDER: [&str; 5] = ["ok answers", "ok login", "ok allocation", "ok echo", "ok throughput"];

fn assert_in_order(way: &Value) {
    assert_eq!(verdicts(way), IN_ORDER, "{way}");
    assert!(way["megabits_per_second"].as_f64().unwrap() > 1.0, "{way}");
    assert_eq!(way["echo_lost"], 0.0);
}

fn secret_file(node: &Node) -> String {
    node.site.folder.path().join("secret").display().to_string()
}

#[test]
fn a_relay_in_order_is_found_so_over_udp_and_tcp() {
    let node = Node::relay("");
    let output = probe(&[&node.site.turn.to_string(), "--json", "--secret-file", &secret_file(&node)]);
    let ways = ways(&output);
    assert_eq!(ways.iter().map(|way| way["transport"].as_str().unwrap()).collect::<Vec<_>>(), ["udp", "tcp"]);
    ways.iter().for_each(assert_in_order);
    assert!(output.status.success());
    for _ in 0..4 {
        assert_eq!(node.log.wait_for("allocation closed")["cause"], "client", "what it made it ends");
    }
}

#[test]
fn a_certificate_is_checked_and_a_wrong_one_named_and_passed_over() {
    let node = Site::new(Ipv4Addr::LOCALHOST, "allow_peers = [\"127.0.0.1/32\"]").with_tls().start("relay");
    let port = node.site.tls.unwrap().port();
    let url = format!("turns:127.0.0.1:{port}");
    let mut trusting = turnpike(&["probe", "--seconds", "0.3", "--json"]);
    trusting.env("SSL_CERT_FILE", node.site.authority_file());
    let output = probe_by(trusting, &[&url, "--secret-file", &secret_file(&node)]);
    let [way] = &ways(&output)[..] else { panic!("{output:?}") };
    assert!(verdicts(way)[0] == "fail certificate", "the certificate names {DOMAIN} alone: {way}");
    assert!(way["findings"][0]["found"].as_str().unwrap().contains("not valid for name"), "{way}");
    assert_eq!(verdicts(way)[1..], IN_ORDER, "{way}");
    assert_eq!(output.status.code(), Some(1));
}

#[test]
fn each_refusal_and_each_silence_is_named_with_its_cure() {
    let node = Node::relay("");
    let folder = tempfile::tempdir().unwrap();
    let wrong = folder.path().join("wrong");
    fs::write(&wrong, "another secret, which the relay does not sign with").unwrap();
    let silent = UdpSocket::bind("127.0.0.1:0").unwrap();
    let web = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = web.local_addr().unwrap();
    std::thread::spawn(move || {
        let mut streams = Vec::new();
        while let Ok((mut stream, _)) = web.accept() {
            // What HTTPS says to plain bytes: an alert, and then it goes on for a while.
            let _ = stream.write_all(&[0x15, 3, 1, 0, 2, 2, 70].repeat(3));
            streams.push(stream);
        }
    });
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();

    let relay = format!("turn:{}", node.site.turn);
    let wrong = wrong.display().to_string();
    for (arguments, says) in [
        (
            vec![relay.as_str(), "--secret-file", &wrong],
            "FAIL  allocation  refused with 401: the server signs with another",
        ),
        (
            vec![&relay, "--user", "a", "--pass", "b"],
            "FAIL  allocation  refused with 401: the server knows this user by",
        ),
        (
            vec![&format!("turn:{}", silent.local_addr().unwrap())],
            "FAIL  answers     nothing comes back: is the service",
        ),
        (vec![&format!("turn:{address}?transport=tcp")], "FAIL  answers     what answers is no TURN server"),
        (vec![&format!("turn:{closed}?transport=tcp")], "FAIL  answers     nobody listens on"),
    ] {
        let output = probe(&arguments);
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(text.contains(says), "{arguments:?}: {text}");
        assert_eq!(output.status.code(), Some(1), "{arguments:?}");
    }

    let output = probe(&[&relay]);
    assert!(
        String::from_utf8(output.stdout).unwrap().contains("warn  relay       not tried: give --secret-file")
    );
    assert!(output.status.success(), "nothing is wrong as far as it goes");
    for (arguments, code) in [
        (vec!["https://a.example"], 2),
        (vec![], 2),
        (vec!["turn:nowhere.invalid"], 1),
        (vec![&relay, "--secret-file", "/nowhere"], 1),
    ] {
        assert_eq!(probe(&arguments).status.code(), Some(code), "{arguments:?}");
    }
}

#[test]
fn it_works_against_coturn() {
    let coturn = Coturn::start();
    let secret = coturn.folder.path().join("secret").display().to_string();
    let output = probe(&[&format!("127.0.0.1:{}", coturn.port), "--json", "--secret-file", &secret]);
    let ways = ways(&output);
    assert_eq!(ways.len(), 2);
    ways.iter().for_each(assert_in_order);
    assert!(output.status.success());
}

struct Coturn {
    folder: TempDir,
    process: Child,
    port: u16,
}

impl Coturn {
    fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("secret"), SECRET).unwrap();
        let mut ports = Ports::take();
        let port = ports.listener();
        let range = ports.relay_range();
        let process = Command::new("turnserver")
            .args(["-n", "--no-cli", "--no-tls", "--no-dtls", "--allow-loopback-peers", "--log-file=stdout"])
            .args(["--listening-ip=127.0.0.1", "--relay-ip=127.0.0.1", "--realm=coturn"])
            .args(["--use-auth-secret", &format!("--static-auth-secret={SECRET}")])
            .args([
                format!("--listening-port={port}"),
                format!("--min-port={}", range.start()),
                format!("--max-port={}", range.end()),
            ])
            .arg(format!("--pidfile={}", folder.path().join("pid").display()))
            .arg(format!("--db={}", folder.path().join("db").display()))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("turnserver of the Debian package coturn is installed");
        let deadline = Instant::now() + Duration::from_secs(10);
        while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(Instant::now() < deadline, "coturn does not listen");
            std::thread::sleep(Duration::from_millis(50));
        }
        Self { folder, process, port }
    }
}

impl Drop for Coturn {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
