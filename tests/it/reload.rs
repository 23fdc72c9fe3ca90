//! SIGHUP: what can be taken without a restart is, and what lives goes on.

use std::{
    fs,
    io::Write as _,
    net::TcpStream,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};
use turnpike_turn_client::{Credentials, Error};

use crate::{
    http,
    node::{Node, SECRET, Site, in_an_hour},
};

const NEW: &str = "the next secret that the tests share, as long as the first";

pub(crate) fn node(service: &str) -> Node {
    let site = Site::new(std::net::Ipv4Addr::LOCALHOST, "allow_peers = [\"127.0.0.1/32\"]");
    edit(&site, "[auth]\n", "[auth]\napi_keys_file = \"keys\"\n");
    fs::write(site.folder.path().join("keys"), "first-key").unwrap();
    site.start(service)
}

fn edit(site: &Site, from: &str, to: &str) {
    let config = fs::read_to_string(site.config()).unwrap();
    assert!(config.contains(from), "{config}");
    fs::write(site.config(), config.replace(from, to)).unwrap();
}

fn write(node: &Node, file: &str, text: &str) {
    fs::write(node.site.folder.path().join(file), text).unwrap();
}

fn hang_up(node: &Node) {
    kill_process(Pid::from_raw(node.id() as i32).unwrap(), Signal::HUP).unwrap();
}

fn allocate(node: &Node, secret: &str, subject: &str) -> Result<turnpike_turn_client::Allocation, Error> {
    node.allocate_as(Credentials::mint(secret.as_bytes(), in_an_hour(), subject))
}

fn is_refused<T>(outcome: &Result<T, Error>) -> bool {
    matches!(outcome, Err(Error::Refused { code: 401 }))
}

#[test]
fn a_rotated_secret_is_taken_and_no_allocation_notices() {
    let node = node("run");
    let mut old: Vec<_> = (0..20).map(|n| allocate(&node, SECRET, &format!("old{n}")).unwrap()).collect();
    assert!(is_refused(&allocate(&node, NEW, "early")));

    write(&node, "secret", &format!("{NEW}\n{SECRET}\n"));
    hang_up(&node);
    assert_eq!(node.log.wait_for_start("reloaded: ")["secrets"], 2);
    allocate(&node, NEW, "new").unwrap();
    allocate(&node, SECRET, "of before the rotation").unwrap();
    let printed = node.site.command(&["creds", "--format", "json"]).output().unwrap().stdout;
    let minted: serde_json::Value = serde_json::from_slice(&printed).unwrap();
    let by = Credentials::of_secret(NEW.as_bytes(), minted["username"].as_str().unwrap());
    assert_eq!(minted["password"], *by.password);

    write(&node, "secret", NEW);
    hang_up(&node);
    node.log.wait_until(|lines| lines.iter().find(|line| line["secrets"] == 1).cloned());
    assert!(is_refused(&allocate(&node, SECRET, "late")));
    for allocation in &mut old {
        allocation.refresh(None).unwrap();
        allocation.permit(&["127.0.0.1".parse().unwrap()]).unwrap();
    }
    let ice = http::post(node.site.http, "/v1/ice", "first-key", "{}");
    let ice: serde_json::Value = serde_json::from_str(&ice).unwrap();
    let username = ice["iceServers"][1]["username"].as_str().unwrap();
    let by = Credentials::of_secret(NEW.as_bytes(), username);
    assert_eq!(ice["iceServers"][1]["credential"], *by.password, "signaling signs with it");
}

#[test]
fn api_keys_static_users_and_the_log_level_are_taken_and_the_rest_is_named() {
    let node = node("run");
    assert!(http::post(node.site.http, "/v1/ice", "first-key", "{}").contains("iceServers"));
    let user = || node.allocate_as(Credentials::new("alice", "word"));
    assert!(is_refused(&user()));

    write(&node, "keys", "second-key");
    edit(
        &node.site,
        "[log]\n",
        "[[auth.static_user]]\nusername = \"alice\"\npassword = \"word\"\n\n[log]\nlevel = \"debug\"\n",
    );
    edit(&node.site, "shards = 2", "shards = 1");
    hang_up(&node);
    assert_eq!(node.log.wait_for_start("reloaded: ")["changed"], "auth.static_user,log.level");
    let restart = node.log.wait_for_start("these keys have changed");
    assert_eq!((&restart["keys"], &restart["code"]), (&"relay.shards".into(), &"restart_needed".into()));
    user().unwrap();
    assert!(http::post(node.site.http, "/v1/ice", "second-key", "{}").contains("iceServers"));
    assert!(http::post(node.site.http, "/v1/ice", "first-key", "{}").contains("unauthorized"));
    TcpStream::connect(node.site.http).unwrap().write_all(b"no HTTP\r\n\r\n").unwrap();
    assert_eq!(node.log.wait_for("connection ended")["level"], "DEBUG");
}

#[test]
fn a_file_that_cannot_be_used_changes_nothing_and_the_next_one_does() {
    let node = node("relay");
    let metric = |value: &str| {
        let line = format!("turnpike_config_last_reload_success {value}");
        let deadline = Instant::now() + Duration::from_secs(10);
        while !http::get(node.site.relay_metrics, "/metrics").lines().any(|found| found == line) {
            assert!(Instant::now() < deadline, "{line}");
        }
    };
    metric("1");
    edit(&node.site, "[relay]\n", "[relay]\nshard = 5\n");
    hang_up(&node);
    let failed = node.log.wait_for_start("the configuration is not reloaded");
    assert!(failed["problem"].as_str().unwrap().contains("unknown key `shard`"), "{failed}");
    allocate(&node, SECRET, "alice").unwrap();
    metric("0");

    edit(&node.site, "shard = 5\n", "");
    write(&node, "secret", NEW);
    hang_up(&node);
    node.log.wait_for_start("reloaded: ");
    allocate(&node, NEW, "bob").unwrap();
    metric("1");
}
