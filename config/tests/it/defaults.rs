use turnpike_config::{
    Detect, Learned, MissingSecret, Note, PublicAddress, RelayAddress, Request, ways_to_ask,
};

use super::{Machine, interface};

fn relay_address(bound: &str, advertised: &str) -> Option<RelayAddress> {
    Some(RelayAddress { bound: bound.parse().unwrap(), advertised: advertised.parse().unwrap() })
}

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
    assert_eq!(loaded.config.relay.relay_ipv4, relay_address("198.18.0.1", "198.18.0.1"));
    assert_eq!(loaded.config.relay.relay_ipv6, None);
    assert_eq!(
        loaded.config.relay.listen_udp,
        ["0.0.0.0:3478", "[::]:3478"].map(|address| address.parse().unwrap())
    );
    let ways = ["turn:198.18.0.1:3478?transport=udp", "turn:198.18.0.1:3478?transport=tcp"];
    assert_eq!(loaded.config.ice.turn_urls, ways);
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
    machine.host.addresses = vec![interface("10.0.0.5")];
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
    assert_eq!(relay.relay_ipv4, relay_address("0.0.0.0", "192.0.2.10"));
    let ipv6 = "[node]\npublic_ipv6 = \"2001:db8::5\"";
    let relay = machine.load_text(ipv6).unwrap().config.relay;
    assert_eq!(relay.relay_ipv6, relay_address("::", "2001:db8::5"));
    let relay =
        machine.load_text(&format!("{ipv6}\n[relay]\nrelay_ipv6 = \"fd00::5\"")).unwrap().config.relay;
    assert_eq!(relay.relay_ipv6, relay_address("fd00::5", "2001:db8::5"));
}

#[test]
fn a_global_ipv6_address_of_an_interface_is_served_beside_ipv4() {
    let mut machine = Machine::new().with_own_secret();
    machine.host.addresses.extend(["fe80::1", "fd00::1", "2001:db8::1"].map(interface));
    let config = machine.load_text("").unwrap().config;
    assert_eq!(config.relay.relay_ipv4, relay_address("198.18.0.1", "198.18.0.1"));
    assert_eq!(config.relay.relay_ipv6, relay_address("2001:db8::1", "2001:db8::1"));
    assert_eq!(config.ice.stun_urls, ["stun:198.18.0.1:3478"], "four URLs are enough");
    let ways = [
        "198.18.0.1:3478?transport=udp",
        "[2001:db8::1]:3478?transport=udp",
        "198.18.0.1:3478?transport=tcp",
    ];
    assert_eq!(config.ice.turn_urls, ways.map(|way| format!("turn:{way}")));

    let config = machine.load_text("[relay]\nlisten_tcp = []").unwrap().config;
    assert_eq!(config.ice.stun_urls, ["stun:198.18.0.1:3478", "stun:[2001:db8::1]:3478"]);
    assert_eq!(config.ice.turn_urls, ways[..2].iter().map(|way| format!("turn:{way}")).collect::<Vec<_>>());

    let text = "[relay]\nlisten_udp = [\"198.18.0.1:4000\"]\nlisten_tcp = [\"[2001:db8::1]:4001\"]";
    let config = machine.load_text(text).unwrap().config;
    let ways = ["turn:198.18.0.1:4000?transport=udp", "turn:[2001:db8::1]:4001?transport=tcp"];
    assert_eq!(config.ice.turn_urls, ways, "clients need a listener");
}

#[test]
fn by_name_turn_is_given_over_udp_and_tcp_and_where_it_is_on_tls() {
    let load = |listen: &str| {
        let files = "mode = \"files\"\ncert_file = \"/c.pem\"\nkey_file = \"/k.pem\"";
        let tls =
            if listen.is_empty() { String::new() } else { format!("[tls]\n{files}\nlisten = [{listen}]") };
        let text = format!("[node]\ndomain = \"turn.example.org\"\n{tls}\n");
        Machine::new().with_own_secret().load_text(&text).unwrap().config.ice
    };
    let ice = load("");
    assert_eq!(ice.stun_urls, ["stun:turn.example.org:3478"]);
    let plain = ["turn:turn.example.org:3478?transport=udp", "turn:turn.example.org:3478?transport=tcp"];
    assert_eq!(ice.turn_urls, plain);
    for (listen, port) in
        [("\"[::]:443\", \"[::]:5349\"", 443), ("\"[::]:5349\", \"[::]:443\"", 443), ("\"[::]:5349\"", 5349)]
    {
        let ice = load(listen);
        assert_eq!(ice.stun_urls, ["stun:turn.example.org:3478"]);
        assert_eq!(ice.turn_urls[..2], plain);
        assert_eq!(ice.turn_urls[2..], [format!("turns:turn.example.org:{port}?transport=tcp")]);
        assert!(ice.own_relay);
    }
}

#[test]
fn each_family_can_be_left_out_but_not_both() {
    let mut machine = Machine::new().with_own_secret();
    machine.host.addresses.push(interface("2001:db8::1"));
    let relay = machine.load_text("[node]\npublic_ipv6 = \"none\"").unwrap().config.relay;
    assert_eq!((relay.relay_ipv4.is_some(), relay.relay_ipv6), (true, None));
    let config = machine.load_text("[node]\npublic_ipv4 = \"none\"").unwrap().config;
    assert_eq!((config.relay.relay_ipv4, config.relay.relay_ipv6.is_some()), (None, true));
    let ways = ["turn:[2001:db8::1]:3478?transport=udp", "turn:[2001:db8::1]:3478?transport=tcp"];
    assert_eq!(config.ice.turn_urls, ways);
    machine.host.addresses.remove(0);
    assert_eq!(machine.load_text("").unwrap().config.relay.relay_ipv4, None, "a machine of IPv6 alone");

    machine.host.addresses.clear();
    let error = machine.load_text("[node]\npublic_ipv4 = \"none\"").unwrap_err().to_string();
    let expected = "turnpike.toml:2:15: `node.public_ipv4` is \"none\", and this node has no public IPv6 address \
                    either: write one of the two";
    assert!(error.contains(expected), "{error}");
}

#[test]
fn this_machine_alone_is_served_whatever_the_file_says() {
    let machine = Machine::new().with_own_secret();
    let path = machine.folder.path().join("turnpike.toml");
    let text = "[node]\npublic_ipv4 = \"10.0.0.5\"\n[relay]\nlisten_udp = [\"[::]:4000\"]\nlisten_tcp = [\"[::]:4001\"]";
    std::fs::write(&path, text).unwrap();
    let loaded = machine.load_as(Some(&path), MissingSecret::Make, true).unwrap();
    let config = loaded.config;
    assert_eq!(loaded.notes, []);
    let addresses: Vec<String> = config.node.public_addresses().map(|a| a.address.to_string()).collect();
    assert_eq!(addresses, ["127.0.0.1"]);
    assert_eq!(config.relay.listen_udp, ["127.0.0.1:4000".parse().unwrap()]);
    assert_eq!(config.relay.listen_tcp, ["127.0.0.1:4001".parse().unwrap()]);
    assert_eq!(config.signaling.listen, ["127.0.0.1:8080".parse().unwrap()]);
    assert_eq!(config.relay.relay_ipv4, relay_address("127.0.0.1", "127.0.0.1"));
    assert_eq!(config.relay.relay_ipv6, None);
    let ways = ["turn:127.0.0.1:4000?transport=udp", "turn:127.0.0.1:4001?transport=tcp"];
    assert_eq!(config.ice.turn_urls, ways);
    assert!(config.relay.drain_timeout.is_zero());
    for network in ["127.0.0.0/8", "192.168.0.0/16", "127.0.0.1/32", "198.18.0.1/32"] {
        assert!(config.relay.allow_peers.contains(&network.parse().unwrap()), "{network}");
    }
}

#[test]
fn by_acme_the_certificate_is_kept_in_the_state_folder_and_asked_for_on_port_80() {
    let text = "[node]\ndomain = \"turn.example.org\"\n[tls]\nmode = \"acme\"\nacme_email = \"a@example.org\"\n\
                acme_eab_key_id = \"kid-1\"\nacme_eab_key_file = \"/eab\"\n";
    let tls = Machine::new().with_own_secret().load_text(text).unwrap().config.tls.unwrap();
    assert_eq!(tls.cert_file.to_str(), Some("/var/lib/turnpike/acme/fullchain.pem"));
    let acme = tls.acme.unwrap();
    assert_eq!(acme.http_listen, ["0.0.0.0:80", "[::]:80"].map(|text| text.parse().unwrap()));
    assert_eq!((acme.domain.as_str(), acme.email.as_deref()), ("turn.example.org", Some("a@example.org")));
    assert_eq!(acme.directory, "https://acme-v02.api.letsencrypt.org/directory");
    let external = acme.external_account.unwrap();
    assert_eq!((external.key_id.as_str(), external.key_file.to_str()), ("kid-1", Some("/eab")));
}

#[test]
fn others_are_asked_only_where_detect_names_them_and_no_interface_knows() {
    let mut machine = Machine::new();
    let ways = |machine: &Machine, text: &str| {
        let path = machine.folder.path().join("turnpike.toml");
        std::fs::write(&path, text).unwrap();
        let request =
            Request { file: Some(path), this_machine: false, missing_secret: MissingSecret::StandIn };
        ways_to_ask(&request, &machine.host).unwrap()
    };
    let both = "[node]\ndetect = [\"interface\", \"metadata\"]\n";
    assert_eq!(ways(&machine, both), [], "eth0 has a public address");
    machine.host.addresses = vec![interface("10.0.0.5")];
    assert_eq!(ways(&machine, ""), [], "nobody is named");
    assert_eq!(ways(&machine, both), [Detect::Metadata]);
    assert_eq!(ways(&machine, &format!("{both}public_ipv4 = \"192.0.2.10\"\n")), [], "it is written down");
    let outside =
        PublicAddress { address: [198, 18, 0, 9].into(), learned: Learned::Metadata("AWS".to_owned()) };
    machine.host.outside = Some(outside.clone());
    let loaded = machine.with_own_secret().load_text(both).unwrap();
    assert_eq!(loaded.config.node.public_ipv4, Some(outside));
    assert_eq!(loaded.config.relay.relay_ipv4, relay_address("0.0.0.0", "198.18.0.9"), "bound on any");
}
