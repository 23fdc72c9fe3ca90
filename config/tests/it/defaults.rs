use std::net::Ipv4Addr;

use turnpike_config::{InterfaceAddress, Learned, MissingSecret, Note};

use super::Machine;

#[test]
fn without_a_file_everything_lies_in_the_users_own_data_folder() {
    let machine = Machine::new();
    let state = machine.folder.path().join("share/turnpike");
    let loaded = machine.load(None).unwrap();
    assert_eq!(loaded.config.node.state_dir, state);
    assert_eq!(loaded.secret_file, state.join("secret"));
    assert_eq!(loaded.config.relay.admin_socket, state.join("relay.sock"));
    assert_eq!(loaded.config.node.name, "node-1");
    assert_eq!(loaded.config.relay.shards, 4);
    assert_eq!(loaded.config.relay.max_allocations, 14_745);
    assert_eq!(loaded.config.relay.relay_ipv4, Ipv4Addr::new(198, 18, 0, 1));
    assert_eq!(loaded.config.ice.turn_urls, ["turn:198.18.0.1:3478?transport=udp"]);
}

#[test]
fn with_a_file_everything_lies_in_the_systems_folders() {
    let loaded = Machine::new().with_own_secret().load_text("").unwrap();
    assert_eq!(loaded.config.node.state_dir.to_str(), Some("/var/lib/turnpike"));
    assert_eq!(loaded.config.relay.admin_socket.to_str(), Some("/run/turnpike/relay.sock"));
}

#[test]
fn with_tls_the_page_comes_by_its_listeners_and_plain_http_is_for_this_machine() {
    let files = "mode = \"files\"\ncert_file = \"/c.pem\"\nkey_file = \"/k.pem\"";
    let load = |node: &str, tls: &str| {
        let text = format!("[node]\n{node}\n[tls]\n{tls}\n");
        Machine::new().with_own_secret().load_text(&text).unwrap()
    };
    let loaded = load("domain = \"turn.example.org\"", files);
    assert_eq!(loaded.notes, []);
    let tls = loaded.config.tls.unwrap();
    let listen = ["0.0.0.0:443", "[::]:443", "0.0.0.0:5349", "[::]:5349"];
    assert_eq!(tls.listen, listen.map(|text| text.parse().unwrap()));
    assert_eq!(loaded.config.signaling.listen, ["127.0.0.1:8080".parse().unwrap()]);
    let internal = loaded.config.signaling.internal_socket.unwrap();
    assert_eq!(internal.to_str(), Some("/run/turnpike/signaling.sock"));

    let [note @ Note::TlsWithoutDomain] = &load("", files).notes[..] else { panic!("no warning") };
    assert!(note.is_warning() && note.to_string().contains("set node.domain"), "{note}");

    let off = load("", "mode = \"off\"").config;
    assert_eq!((off.tls, off.signaling.internal_socket), (None, None));
    assert_eq!(off.signaling.listen, ["[::]:8080".parse().unwrap()]);
}

#[test]
fn with_tls_and_without_a_file_the_internal_socket_lies_in_the_state_folder() {
    let mut machine = Machine::new();
    for (key, value) in [("MODE", "files"), ("CERT_FILE", "/c.pem"), ("KEY_FILE", "/k.pem")] {
        machine.set(&format!("TURNPIKE_TLS__{key}"), value);
    }
    let loaded = machine.load(None).unwrap();
    let socket = machine.folder.path().join("share/turnpike/signaling.sock");
    assert_eq!(loaded.config.signaling.internal_socket, Some(socket));
}

#[test]
fn without_a_data_folder_the_state_folder_must_be_told() {
    let mut machine = Machine::new();
    machine.host.data_home = None;
    let error = machine.load(None).unwrap_err().to_string();
    assert!(error.starts_with("`node.state_dir` has no default, for neither HOME nor XDG_DATA_HOME is set"));

    let state = machine.folder.path().join("state");
    machine.set("TURNPIKE_NODE__STATE_DIR", state.to_str().unwrap());
    assert_eq!(machine.load(None).unwrap().secret_file, state.join("secret"));
}

#[test]
fn a_private_address_stops_a_file_and_is_a_warning_without_one() {
    let mut machine = Machine::new().with_own_secret();
    machine.host.addresses =
        vec![InterfaceAddress { interface: "eth0".to_owned(), address: [10, 0, 0, 5].into() }];
    let notes = machine.load(None).unwrap().notes;
    let [note @ Note::PrivateAddress(address)] = notes.as_slice() else { panic!("{notes:?}") };
    assert!(note.is_warning());
    assert_eq!(address.learned, Learned::Interface("eth0".to_owned()));

    let error = machine.load_text("").unwrap_err().to_string();
    let expected =
        "turnpike.toml: `node.public_ipv4` is 10.0.0.5 (found on interface eth0), a private address";
    assert!(error.contains(expected), "{error}");

    let loaded = machine.load_text("[node]\nallow_private_address = true").unwrap();
    assert_eq!(loaded.notes, []);
}

#[test]
fn a_relay_behind_nat_binds_on_any_address_unless_told() {
    let machine = Machine::new().with_own_secret();
    let relay = machine.load_text("[node]\npublic_ipv4 = \"192.0.2.10\"").unwrap().config.relay;
    assert_eq!(relay.advertised_ipv4, Ipv4Addr::new(192, 0, 2, 10));
    assert_eq!(relay.relay_ipv4, Ipv4Addr::UNSPECIFIED);
}

#[test]
fn this_machine_alone_is_served_whatever_the_file_says() {
    let machine = Machine::new().with_own_secret();
    let path = machine.folder.path().join("turnpike.toml");
    std::fs::write(&path, "[node]\npublic_ipv4 = \"10.0.0.5\"\n[relay]\nlisten_udp = [\"0.0.0.0:4000\"]")
        .unwrap();
    let loaded = machine.load_as(Some(&path), MissingSecret::Make, true).unwrap();
    let config = loaded.config;
    assert_eq!(loaded.notes, []);
    assert_eq!(config.node.public_ipv4.address, Ipv4Addr::LOCALHOST);
    assert_eq!(config.relay.listen_udp, ["127.0.0.1:4000".parse().unwrap()]);
    assert_eq!(config.signaling.listen, ["127.0.0.1:8080".parse().unwrap()]);
    assert_eq!(
        (config.relay.relay_ipv4, config.relay.advertised_ipv4),
        (Ipv4Addr::LOCALHOST, Ipv4Addr::LOCALHOST)
    );
    assert_eq!(config.ice.turn_urls, ["turn:127.0.0.1:4000?transport=udp"]);
    assert!(config.relay.drain_timeout.is_zero());
    for network in ["127.0.0.0/8", "192.168.0.0/16", "127.0.0.1/32", "198.18.0.1/32"] {
        assert!(config.relay.allow_peers.contains(&network.parse().unwrap()), "{network}");
    }
}
