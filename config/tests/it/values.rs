use std::{path::Path, time::Duration};

use turnpike_config::{
    BudgetLimit, ClientPrivacy, Count, Detect, IcePolicy, Learned, LogFormat, PublicAddress, RelayAddress,
    Tier, UserPrivacy,
};

use super::Machine;

#[test]
fn every_key_reaches_its_value() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/valid");
    let machine = Machine::new().with_own_secret();
    let config = machine.load(Some(&folder.join("every-key.toml"))).unwrap().config;

    let node = &config.node;
    assert_eq!((node.name.as_str(), node.domain.as_deref()), ("fsn1", Some("turn.example.org")));
    let configured = |address: &str| {
        Some(PublicAddress { address: address.parse().unwrap(), learned: Learned::Configured })
    };
    assert_eq!(node.public_ipv4, configured("192.0.2.10"));
    assert_eq!(node.public_ipv6, configured("2001:db8::10"));
    assert_eq!(node.state_dir, folder.join("state"), "a relative path starts at the file's folder");

    let auth = &config.auth;
    assert_eq!((auth.realm.as_str(), auth.credential_ttl), ("example.org", Duration::from_secs(3600)));
    assert!(auth.strict_expiry);
    assert_eq!(auth.secrets[0].expose(), [b's'; 48]);
    assert_eq!(auth.static_users[0].username, "alice");
    assert_eq!(auth.static_users[0].password.expose(), b"long and random");

    let relay = &config.relay;
    assert_eq!(relay.listen_udp, ["10.0.0.5:3478".parse().unwrap(), "10.0.0.5:3479".parse().unwrap()]);
    let relayed = |bound: &str, advertised: &str| {
        Some(RelayAddress { bound: bound.parse().unwrap(), advertised: advertised.parse().unwrap() })
    };
    assert_eq!(relay.listen_tcp, ["10.0.0.5:3480".parse().unwrap()]);
    assert_eq!(relay.relay_ipv4, relayed("10.0.0.5", "192.0.2.10"));
    assert_eq!(relay.relay_ipv6, relayed("fd00::5", "2001:db8::10"));
    assert_eq!((relay.port_range, relay.shards, relay.max_allocations), ((50_000, 50_099), 3, 80));
    assert_eq!((relay.max_allocations_per_subject, relay.max_allocations_per_ip), (4, 7));
    assert_eq!((relay.max_permissions_per_allocation, relay.max_channels_per_allocation), (10, 20));
    let rates = [relay.max_bitrate_per_allocation, relay.max_bitrate_per_subject, relay.max_bitrate_total];
    assert_eq!(rates, [4_000_000, 500_000, 1_000_000_000]);
    let lifetimes = (relay.default_lifetime.as_secs(), relay.max_lifetime.as_secs());
    assert_eq!(lifetimes, (1200, 3600));
    assert!(relay.strict_permissions && relay.rfc5766_channel_numbers && relay.software_attribute);
    assert_eq!(relay.allow_peers, ["127.0.0.1/32".parse().unwrap()]);
    assert_eq!(relay.deny_peers, ["192.0.2.0/24".parse().unwrap(), "192.0.2.7/32".parse().unwrap()]);
    assert_eq!((relay.min_peer_port, relay.drain_timeout), (443, Duration::ZERO));
    assert_eq!(relay.drain_alternate, Some("198.18.0.2:3478".parse().unwrap()));
    assert_eq!((relay.unauthenticated_per_second, relay.binding_per_second), (5, 0));
    assert_eq!(relay.admin_socket, folder.join("relay.sock"));

    let tls = config.tls.as_ref().unwrap();
    assert_eq!(tls.listen, ["0.0.0.0:8443", "[::]:8443", "10.0.0.5:5349"].map(|text| text.parse().unwrap()));
    assert_eq!(tls.cert_file, folder.join("tls/fullchain.pem"));
    assert_eq!(tls.key_file, Path::new("/run/privkey.pem"));
    assert_eq!(tls.acme, None, "mode is \"files\"");
    let stun = Detect::Stun { host: "stun.example.org".to_owned(), port: 3478 };
    assert_eq!(config.node.detect, [Detect::Metadata, stun]);

    let signaling = &config.signaling;
    assert_eq!(signaling.internal_socket, Some(folder.join("signaling.sock")));
    assert_eq!(signaling.listen, ["127.0.0.1:8081".parse().unwrap()]);
    assert_eq!((signaling.path.as_str(), signaling.polling), ("/signal", true));
    assert_eq!(signaling.trusted_proxies, ["127.0.0.1/32".parse().unwrap()]);
    assert_eq!(signaling.origins, ["https://chat.example.org"]);
    assert_eq!((signaling.max_sockets, signaling.max_sockets_per_ip), (100, 10));
    let waits = [signaling.widen_after, signaling.accept_within, signaling.rematch_after];
    assert_eq!(waits.map(|wait| wait.as_secs()), [2, 5, 0]);
    assert_eq!([signaling.resume_for, signaling.pair_grace].map(|wait| wait.as_secs()), [20, 10]);

    assert_eq!(config.ice.stun_urls, ["stun:a.example.org"]);
    assert_eq!(config.ice.turn_urls, ["turn:b.example.org?transport=udp"]);
    assert_eq!(config.ice.policy, IcePolicy::Relay);
    let mint = &config.mint;
    assert_eq!((mint.anonymous, mint.per_ip_per_minute, mint.per_ip_per_hour), (true, 1, 2));
    assert_eq!(config.metrics.relay_listen, None);
    assert_eq!(config.metrics.signaling_listen, Some("127.0.0.1:9000".parse().unwrap()));
    assert_eq!(config.metrics.selftest, None);
    assert_eq!(config.metrics.tenants, ["blog", "shop"]);
    let usage = &config.usage;
    assert_eq!((usage.interim, usage.retention_days), (Duration::from_secs(2), 7));
    assert_eq!((usage.client_address, usage.user), (ClientPrivacy::Full, UserPrivacy::None));
    let price = config.cost.price.as_ref().unwrap();
    assert!(price.source.as_ref().unwrap().starts_with("AWS EC2"));
    assert_eq!((price.currency.as_str(), price.base, price.included), ("EUR", 4.5, 1_000_000_000_000));
    assert_eq!(
        (price.round_up_to, config.cost.count, config.cost.reset_day),
        (1_000_000_000, Count::Both, 31)
    );
    assert!(!config.cost.header_overhead);
    let tiers = [(Some(10_000_000_000_000), 80.0 / 1e12), (None, 0.05 / 1_073_741_824.0)];
    assert_eq!(price.tiers, tiers.map(|(up_to, per_byte)| Tier { up_to, per_byte }));
    let [cloudflare, twilio] = &config.cost.compare[..] else { panic!("{:?}", config.cost.compare) };
    assert_eq!(
        (cloudflare.price.included, cloudflare.count, cloudflare.rate),
        (1_000_000_000_000, Count::ClientOut, 0.9)
    );
    assert_eq!((twilio.price.tiers[0].per_byte, twilio.price.included), (0.4 / 1e9, 10_000_000_000));
    let budget = &config.budget;
    assert_eq!(
        (budget.limit, budget.warn_at, budget.degrade_at),
        (Some(BudgetLimit::Money(25.0)), 0.5, 0.75)
    );
    assert_eq!((budget.degraded_bitrate, budget.cut), (1_000_000, true));
    assert_eq!(budget.webhook.as_ref().unwrap().expose(), b"https://example.org/hooks/token");
    assert!(!format!("{budget:?}").contains("token"), "{budget:?}");
    assert_eq!(config.log.level, "warn,turnpike_relay=debug");
    assert_eq!(config.log.format, LogFormat::Json);
}

#[test]
fn the_environment_wins_and_is_named_when_it_is_wrong() {
    let mut machine = Machine::new().with_own_secret();
    machine.set("TURNPIKE_RELAY__SHARDS", "7");
    machine.set("TURNPIKE_AUTH__CREDENTIAL_TTL", "2h");
    let config = machine.load_text("[relay]\nshards = 2").unwrap().config;
    assert_eq!((config.relay.shards, config.auth.credential_ttl), (7, Duration::from_secs(7200)));

    machine.set("TURNPIKE_RELAY__SHARDS", "700");
    assert_eq!(
        machine.load_text("[relay]\nshards = 2").unwrap_err().to_string(),
        "TURNPIKE_RELAY__SHARDS: `relay.shards` is 700: write a whole number from 0 to 256"
    );
}

#[test]
fn a_file_that_is_missing_or_no_text_is_told() {
    let machine = Machine::new().with_own_secret();
    let error = machine.load(Some(Path::new("/nowhere/turnpike.toml"))).unwrap_err().to_string();
    assert!(error.starts_with("/nowhere/turnpike.toml: cannot be read ("), "{error}");

    let path = machine.folder.path().join("turnpike.toml");
    std::fs::write(&path, [0xff, 0xfe]).unwrap();
    let error = machine.load(Some(&path)).unwrap_err().to_string();
    assert!(error.ends_with("turnpike.toml: is not UTF-8 text: save it as UTF-8"), "{error}");
}
