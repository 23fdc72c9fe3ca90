//! Any text and any environment on several machines: a configuration that a service can start with, or problems that say
//! where they are.

use std::{collections::HashSet, net::SocketAddr, path::PathBuf};

use turnpike_config::{
    Config, Host, InterfaceAddress, MissingSecret, Place, Problem, Relay, Request, check_text,
};

const FILE: &str = "/etc/turnpike/turnpike.toml";
const MOST_PROBLEMS_SHOWN: usize = 20;

/// The first byte chooses the machine and what for; then the text of the file, and `NAME=VALUE` of the environment, each
/// ended by a zero byte.
pub fn run(bytes: &[u8]) {
    let Some((how, rest)) = bytes.split_first() else { return };
    let mut parts = rest.split(|byte| *byte == 0).map(String::from_utf8_lossy);
    let text = parts.next().unwrap_or_default();
    let variables = parts
        .filter_map(|part| part.split_once('=').map(|(name, value)| (name.to_owned(), value.to_owned())));
    let host = Host { environment: variables.collect(), ..machine(*how) };
    let file = (how & 8 == 0).then(|| PathBuf::from(FILE));
    let text = if file.is_some() { &*text } else { "" };
    let request = Request { file, this_machine: how & 16 != 0, missing_secret: MissingSecret::StandIn };
    match check_text(&request, text, &host) {
        Ok(config) => {
            check_config(&config, request.this_machine);
            let again = check_text(&request, text, &host).expect("it was in order before");
            assert_eq!(format!("{config:?}"), format!("{again:?}"), "the same again");
        }
        Err(error) => {
            assert!(!error.problems().is_empty());
            for problem in error.problems().iter().take(MOST_PROBLEMS_SHOWN) {
                check_problem(problem, request.file.is_some(), text, &host);
            }
        }
    }
}

fn machine(how: u8) -> Host {
    let address = |interface: &str, address: &str, is_passing| InterfaceAddress {
        interface: interface.to_owned(),
        address: address.parse().expect("a literal"),
        is_passing,
    };
    let v6 = address("eth0", "2001:db8::5", false);
    let addresses = match how & 3 {
        0 => vec![address("eth0", "198.18.0.1", false)],
        1 => vec![address("eth0", "198.18.0.1", false), v6],
        2 => vec![address("docker0", "172.17.0.1", false), address("eth0", "fe80::1", true)],
        _ => Vec::new(),
    };
    let data_home = (how & 4 == 0).then(|| PathBuf::from("/home/a/.local/share"));
    Host { name: "node-1".to_owned(), cores: 4, addresses, data_home, ..Host::default() }
}

fn check_problem(problem: &Problem, is_file: bool, text: &str, host: &Host) {
    assert!(!problem.message.is_empty());
    let shown = problem.to_string();
    assert!(
        !shown.contains(|c: char| c.is_control()),
        "one line, and nothing that moves a cursor: {shown:?}"
    );
    match &problem.place {
        None => assert!(!is_file, "it says where: {shown}"),
        Some(Place::File(file)) => assert!(is_file && file.as_os_str() == FILE),
        Some(Place::Variable(name)) => assert!(host.environment.contains_key(name), "{shown}"),
        Some(Place::Line { line, column, .. }) => {
            // Behind the last newline there is a line too, and behind the last character a column.
            let written = text.split('\n').nth(line - 1).unwrap_or_else(|| panic!("no such line: {shown}"));
            assert!((1..=written.chars().count() + 1).contains(column), "no such column: {shown}");
        }
    }
}

fn check_config(config: &Config, this_machine: bool) {
    check_relay(&config.relay);
    let auth = &config.auth;
    assert!(!auth.realm.is_empty() && auth.realm.len() <= 763);
    assert!(
        auth.secrets.is_empty() && auth.api_keys.is_empty() && auth.admin_keys.is_empty(),
        "no file was opened"
    );
    let names: HashSet<&str> = auth.static_users.iter().map(|user| user.username.as_str()).collect();
    assert_eq!(names.len(), auth.static_users.len());
    assert!(auth.static_users.iter().all(|user| !user.password.expose().is_empty()));
    assert!(config.node.public_addresses().next().is_some());
    assert!(config.ice.stun_urls.iter().all(|url| url.starts_with("stun:") || url.starts_with("stuns:")));
    assert!(config.ice.turn_urls.iter().all(|url| url.starts_with("turn:") || url.starts_with("turns:")));
    let tls = config.tls.iter().flat_map(|tls| &tls.listen);
    let listeners = [&config.relay.listen_udp, &config.relay.listen_tcp, &config.signaling.listen];
    for listeners in listeners {
        assert_distinct(listeners);
    }
    for listener in listeners.into_iter().flatten().chain(tls) {
        assert_ne!(listener.port(), 0, "nobody could know the port");
        assert!(!this_machine || listener.ip().is_loopback(), "{listener}");
    }
}

fn check_relay(relay: &Relay) {
    let (first, last) = relay.port_range;
    assert!((1024..=last).contains(&first));
    assert!(relay.listen_udp.iter().all(|listener| !(first..=last).contains(&listener.port())));
    assert!((1..=256).contains(&relay.shards));
    assert!((1..=usize::from(last - first) + 1).contains(&relay.max_allocations));
    assert!(relay.max_permissions_per_allocation >= 1 && relay.max_channels_per_allocation >= 1);
    assert!(relay.default_lifetime <= relay.max_lifetime && relay.default_lifetime.as_secs() >= 600);
    for network in relay.allow_peers.iter().chain(&relay.deny_peers) {
        assert_eq!(*network, network.trunc());
    }
    let addresses = [relay.relay_ipv4, relay.relay_ipv6];
    assert!(addresses.iter().any(Option::is_some), "it relays somewhere");
    for address in addresses.into_iter().flatten() {
        assert_eq!(address.bound.is_ipv4(), address.advertised.is_ipv4());
    }
    assert!(relay.admin_socket.as_os_str().len() < 108);
}

fn assert_distinct(listeners: &[SocketAddr]) {
    let distinct: HashSet<&SocketAddr> = listeners.iter().collect();
    assert_eq!(distinct.len(), listeners.len(), "{listeners:?}");
}
