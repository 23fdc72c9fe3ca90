//! What keeps a node from starting: one clear sentence, the right code, nothing bound.

use std::{
    fs,
    net::{Ipv4Addr, TcpListener, UdpSocket},
    process::Command,
};

use crate::node::{Node, Site, turnpike};

const USAGE_OR_CONFIG: i32 = 2;
const PROBLEM: i32 = 1;

fn site() -> Site {
    Site::new(Ipv4Addr::LOCALHOST, "")
}

/// Runs to the end, and gives the sentence and the code. Log lines are JSON and the sentence is not.
fn refusal(command: &mut Command) -> (String, i32) {
    let output = command.output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    let sentences: Vec<&str> = said.lines().filter(|line| !line.starts_with('{')).collect();
    let [sentence] = sentences[..] else { panic!("one sentence in {said}") };
    (sentence.to_owned(), output.status.code().unwrap())
}

fn with_config(text: &str) -> Site {
    let site = site();
    fs::write(site.config(), text).unwrap();
    site
}

#[test]
fn an_unknown_key_is_told_with_its_place_and_its_nearest_name() {
    let site = with_config("[relay]\n  port_rage = [50000, 50010]\n");
    let expected = format!(
        "turnpike: {}:2:3: unknown key `port_rage`: did you mean `port_range`?",
        site.config().display()
    );
    for command in [&["run"][..], &["relay"], &["signaling"], &["creds"], &["config", "check"]] {
        assert_eq!(refusal(&mut site.command(command)), (expected.clone(), USAGE_OR_CONFIG), "{command:?}");
    }
}

#[test]
fn a_file_that_is_no_toml_is_told_with_its_place() {
    let site = with_config("[relay]\nshards = = 2\n");
    let (sentence, code) = refusal(&mut site.command(&["run"]));
    let place = format!("turnpike: {}:2:10: not valid TOML: ", site.config().display());
    assert!(sentence.starts_with(&place), "{sentence}");
    assert_eq!(code, USAGE_OR_CONFIG);
}

#[test]
fn a_file_that_is_not_there_is_told() {
    let site = site();
    fs::remove_file(site.config()).unwrap();
    let (sentence, code) = refusal(&mut site.command(&["run"]));
    assert!(sentence.contains("turnpike.toml: cannot be read ("), "{sentence}");
    assert_eq!(code, USAGE_OR_CONFIG);
}

#[test]
fn a_private_advertised_address_is_refused_unless_allowed() {
    let site = with_config("[node]\npublic_ipv4 = \"10.0.0.5\"\n");
    let (sentence, code) = refusal(&mut site.command(&["run"]));
    let place = format!("turnpike: {}:2:15: `node.public_ipv4` is 10.0.0.5", site.config().display());
    assert!(sentence.starts_with(&place), "{sentence}");
    assert!(sentence.contains("`node.allow_private_address = true`"), "{sentence}");
    assert_eq!(code, USAGE_OR_CONFIG);
}

#[test]
fn a_taken_udp_port_is_told_and_nothing_else_is_bound() {
    let site = site();
    let _holder = UdpSocket::bind(site.turn).unwrap();
    let (sentence, code) = refusal(&mut site.command(&["run"]));
    assert!(sentence.starts_with(&format!("turnpike: UDP {} is already in use: ", site.turn)), "{sentence}");
    assert!(sentence.contains("relay.listen_udp"), "{sentence}");
    assert_eq!(code, PROBLEM);
}

#[test]
fn a_taken_http_port_is_told_before_the_relay_serves() {
    let site = site();
    let _holder = TcpListener::bind(site.http).unwrap();
    let output = site.command(&["run"]).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    let sentence = said.lines().last().unwrap();
    assert!(sentence.starts_with("turnpike: ") && sentence.contains("signaling.listen"), "{said}");
    assert!(sentence.contains(&site.http.to_string()), "{said}");
    assert!(!said.contains("\"ready\""), "{said}");
    assert_eq!(output.status.code(), Some(PROBLEM));
    assert!(output.stdout.is_empty());
}

#[test]
fn a_second_relay_on_the_same_state_is_refused() {
    let node = Node::relay("");
    let (sentence, code) = refusal(&mut node.site.command(&["relay"]));
    assert!(sentence.starts_with("turnpike: another relay (process "), "{sentence}");
    assert_eq!(code, PROBLEM);
}

#[test]
fn a_short_secret_is_refused() {
    let site = site();
    fs::write(site.folder.path().join("secret"), "short\n").unwrap();
    let (sentence, code) = refusal(&mut site.command(&["relay"]));
    assert!(sentence.contains("secret:1: the secret has 5 bytes, and 32 are the fewest"), "{sentence}");
    assert_eq!(code, USAGE_OR_CONFIG);
}

#[test]
fn a_check_tells_what_is_in_order_and_makes_nothing() {
    let site = site();
    fs::remove_file(site.folder.path().join("secret")).unwrap();
    let output = site.command(&["config", "check"]).output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{said}");
    assert!(said.lines().all(|line| line.starts_with("ok    ")), "{said}");
    assert!(said.contains(&format!("UDP {} can be bound", site.turn)), "{said}");
    assert!(said.contains("secret is made at the first start"), "{said}");
    assert_eq!(fs::read_dir(site.folder.path()).unwrap().count(), 1, "the configuration alone");
}

#[test]
fn a_check_finds_a_taken_port() {
    let site = site();
    let _holder = TcpListener::bind(site.http).unwrap();
    let output = site.command(&["config", "check"]).output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    let failed: Vec<&str> = said.lines().filter(|line| line.starts_with("FAIL")).collect();
    let [line] = failed[..] else { panic!("{said}") };
    assert!(line.contains(&format!("TCP {} is in use", site.http)), "{line}");
    assert_eq!(output.status.code(), Some(PROBLEM));
}

#[test]
fn a_check_beside_a_running_node_is_in_order() {
    let node = Node::relay("");
    let output = node.site.command(&["config", "check"]).output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{said}");
    assert!(said.contains(&format!("UDP {} is in use, and this node is running", node.site.turn)), "{said}");
}

#[test]
fn wrong_usage_has_a_code_of_its_own() {
    for arguments in [
        &[][..],
        &["dance"],
        &["run", "--port", "1"],
        &["creds", "--ttl", "soon"],
        &["creds", "--user", "a b"],
    ] {
        let output = turnpike(arguments).output().unwrap();
        assert_eq!(output.status.code(), Some(USAGE_OR_CONFIG), "{arguments:?}");
        assert!(!output.stderr.is_empty(), "{arguments:?}");
    }
}
