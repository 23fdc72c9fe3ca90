//! What keeps a relay from starting, and what its operator reads then.

use std::net::SocketAddr;

use turnpike_config::Config;
use turnpike_relay::{Relay, StartError};

use crate::harness::{self, Server, relay_address};

fn refused(change: impl FnOnce(&mut Config)) -> StartError {
    let folder = tempfile::tempdir().unwrap();
    let mut config = harness::config(folder.path());
    change(&mut config);
    match Relay::bind(&config) {
        Ok(_) => panic!("it started"),
        Err(error) => error,
    }
}

#[tokio::test]
async fn a_second_instance_on_the_same_port_is_refused_and_the_first_goes_on() {
    let server = Server::start(|config| config.relay.shards = 2);
    let address = server.address();
    for second in [address, ([0, 0, 0, 0], address.port()).into()] {
        let error = refused(|config| config.relay.listen_udp = vec![second]);
        assert!(
            matches!(error, StartError::PortInUse { listener } if listener.address == second),
            "{error:?}"
        );
        let text = error.to_string();
        assert!(text.contains(&format!("UDP {second}")) && text.contains("relay.listen_udp"), "{text}");
    }
    let address = server.tcp_address();
    for second in [address, ([0, 0, 0, 0], address.port()).into()] {
        let error = refused(|config| config.relay.listen_tcp = vec![second]);
        assert!(
            matches!(error, StartError::PortInUse { listener } if listener.address == second),
            "{error:?}"
        );
        let text = error.to_string();
        assert!(text.contains(&format!("TCP {second}")) && text.contains("relay.listen_tcp"), "{text}");
    }
    crate::client::Client::allocated(&server, "first").await;
    server.stop().await;
}

#[tokio::test]
async fn one_state_folder_serves_one_relay() {
    let folder = tempfile::tempdir().unwrap();
    let config = harness::config(folder.path());
    let first = Relay::bind(&config).unwrap();
    let other_socket = |config: &mut Config| config.relay.admin_socket = folder.path().join("other.sock");
    let mut second = config.clone();
    other_socket(&mut second);
    let error = Relay::bind(&second).map(drop).unwrap_err();
    assert!(matches!(error, StartError::AlreadyRunning { .. }), "{error:?}");
    let text = error.to_string();
    assert!(
        text.contains(&format!("process {}", std::process::id())) && text.contains("node.state_dir"),
        "{text}"
    );
    second.node.state_dir = folder.path().join("another");
    drop(Relay::bind(&second).unwrap());
    drop(first);
    drop(Relay::bind(&config).unwrap());
}

#[tokio::test]
async fn a_live_admin_socket_is_not_taken_over() {
    let server = Server::start(|_| {});
    let path = server.listening.admin_socket.clone();
    let error = refused(|config| config.relay.admin_socket = path.clone());
    assert!(matches!(error, StartError::AdminInUse { .. }), "{error:?}");
    assert!(error.to_string().contains(path.to_str().unwrap()), "{error}");
    server.status().await;
    server.stop().await;
    assert!(!path.exists(), "it goes with its relay");
}

#[tokio::test]
async fn addresses_that_this_host_lacks_are_named() {
    let foreign: SocketAddr = "198.18.255.254:3478".parse().unwrap();
    let cases = [
        (refused(|config| config.relay.listen_udp = vec![foreign]), "relay.listen_udp"),
        (
            refused(|config| config.relay.relay_ipv4 = relay_address(foreign.ip(), foreign.ip())),
            "relay.relay_ipv4",
        ),
        (refused(|config| config.metrics.relay_listen = Some(foreign)), "metrics.relay_listen"),
    ];
    for (error, key) in cases {
        let text = error.to_string();
        assert!(text.contains("198.18.255.254") && text.contains(key) && !text.contains('\n'), "{text}");
    }
}

#[tokio::test]
async fn nothing_is_left_behind_by_a_start_that_failed() {
    let folder = tempfile::tempdir().unwrap();
    let mut config = harness::config(folder.path());
    config.metrics.relay_listen = Some("198.18.255.254:1".parse().unwrap());
    assert!(Relay::bind(&config).is_err());
    assert!(!config.relay.admin_socket.exists());
    config.metrics.relay_listen = None;
    let relay = Relay::bind(&config).unwrap();
    assert_eq!(relay.listening().metrics, None);
}
