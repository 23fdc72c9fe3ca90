use serde_json::Value;
use turnpike_turn_client::Credentials;

use crate::node::{Node, in_an_hour, now, turnpike};

fn output(node: &Node, arguments: &[&str]) -> String {
    let output = node.site.command(&[&["creds"], arguments].concat()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn creds_are_accepted_by_the_relay() {
    let node = Node::relay("");
    let printed = output(&node, &["--user", "alice", "--ttl", "1h", "--format", "json"]);
    let creds: Value = serde_json::from_str(&printed).unwrap();
    let (username, password) = (creds["username"].as_str().unwrap(), creds["password"].as_str().unwrap());
    assert_eq!(creds["ttl"], 3600);
    let expires_at = creds["expiresAt"].as_u64().unwrap();
    assert!((in_an_hour() - 60..=in_an_hour()).contains(&expires_at));
    assert!(username.starts_with(&format!("{expires_at}:alice.")), "{username}");
    assert_eq!(creds["iceServers"][1]["username"], username);
    assert_eq!(creds["iceServers"][1]["credential"], password);
    assert_eq!(creds["iceServers"][1]["urls"][0], format!("turn:{}?transport=udp", node.site.turn));
    node.allocate_as(Credentials::new(username, password)).unwrap();
    let subject = node.log.wait_for("allocation opened")["subject"].clone();
    assert_eq!(format!("{expires_at}:{}", subject.as_str().unwrap()), username);
}

#[test]
fn creds_for_a_shell_are_accepted_by_the_relay() {
    let node = Node::relay("");
    let printed = output(&node, &["--format", "env"]);
    let value = |name: &str| {
        let line = printed.lines().find_map(|line| line.strip_prefix(&format!("{name}='"))).unwrap();
        line.strip_suffix('\'').unwrap().to_owned()
    };
    let ways = ["udp", "tcp"].map(|transport| format!("turn:{}?transport={transport}", node.site.turn));
    assert_eq!(value("TURN_URLS"), ways.join(" "));
    node.allocate_as(Credentials::new(value("TURN_USERNAME"), value("TURN_PASSWORD"))).unwrap();
}

#[test]
fn creds_for_a_person_hold_a_block_that_a_browser_takes() {
    let node = Node::relay("");
    let printed = output(&node, &[]);
    let block: Value = serde_json::from_str(&printed[printed.find('{').unwrap()..]).unwrap();
    let server = &block["iceServers"][1];
    assert!(printed.contains(server["username"].as_str().unwrap()));
    let expiry: u64 = server["username"].as_str().unwrap().split(':').next().unwrap().parse().unwrap();
    assert!((now() + 540..=now() + 600).contains(&expiry), "ten minutes by default");
}

#[test]
fn creds_before_the_first_start_say_that_there_is_no_secret() {
    let folder = tempfile::tempdir().unwrap();
    let output = turnpike(&["creds"]).env("XDG_DATA_HOME", folder.path()).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.starts_with("turnpike: there is no secret file "), "{said}");
    assert_eq!(said.lines().count(), 1, "{said}");
}
