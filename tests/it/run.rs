//! `run`: both services, and what it tells the person who started it.

use std::{net::Ipv4Addr, process::Stdio, time::Duration};

use serde_json::Value;
use turnpike_turn_client::Credentials;

use crate::{
    http,
    lines::Lines,
    node::{Node, Site},
};

fn run() -> Node {
    Site::new(Ipv4Addr::LOCALHOST, "drain_timeout = \"0s\"").start("run")
}

#[test]
fn it_tells_where_everything_is_and_gives_a_block_that_works() {
    let mut node = run();
    let page = format!("http://localhost:{}", node.site.http.port());
    assert_eq!(node.ready["page"], page);
    assert_eq!(node.ready["udp"], node.site.turn.to_string());
    assert_eq!(node.ready["http"], node.site.http.to_string());
    assert_eq!(node.ready["metrics_relay"], node.site.relay_metrics.to_string());
    assert_eq!(node.ready["admin"], node.site.folder.path().join("relay.sock").to_str().unwrap());
    assert!(http::get(node.site.http, "/").contains("<html"), "the page is served");

    let text = printed(&node.stdout());
    assert!(text.contains(&format!("Page        {page}")), "{text}");
    assert!(text.contains(&format!("TURN        turn:{}?transport=udp", node.site.turn)), "{text}");
    let block: Value =
        serde_json::from_str(&text[text.find("\n{").unwrap()..=text.find("\n}").unwrap() + 1]).unwrap();
    let server = &block["iceServers"][1];
    let value = |name: &str| server[name].as_str().unwrap().to_owned();
    node.allocate_as(Credentials::new(value("username"), value("credential"))).unwrap();
    node.terminate();
    assert!(node.exit(Duration::from_secs(10)).success());
}

#[test]
fn a_journal_gets_no_credential() {
    let site = Site::new(Ipv4Addr::LOCALHOST, "");
    let mut command = site.command(&["run"]);
    command.env("JOURNAL_STREAM", "8:12345").stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut process = command.spawn().unwrap();
    let log = Lines::of(process.stderr.take().unwrap());
    log.wait_for("ready");
    process.kill().unwrap();
    assert!(process.wait_with_output().unwrap().stdout.is_empty());
}

/// The text up to its last line.
fn printed(stdout: &Lines) -> String {
    stdout.wait_until(|lines| {
        let text: Vec<&str> = lines.iter().filter_map(Value::as_str).collect();
        text.iter().any(|line| line.starts_with("  Stop")).then(|| text.join("\n"))
    })
}
