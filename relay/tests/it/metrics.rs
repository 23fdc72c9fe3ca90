//! The exposition of `/metrics`.

use std::collections::BTreeMap;

use turnpike_relay_api::admin::{Flow, Traffic};

use crate::{
    client::Client,
    harness::{PATIENCE, Server},
    log,
};

/// Every sample by its name and labels, as written.
type Samples = BTreeMap<String, f64>;

async fn scrape(server: &Server) -> Samples {
    samples(&server.page("/metrics").await.ok())
}

fn samples(text: &str) -> Samples {
    text.lines()
        .filter(|line| !line.starts_with('#'))
        .map(|line| {
            let (name, value) = line.rsplit_once(' ').unwrap();
            (name.to_owned(), value.parse().unwrap())
        })
        .collect()
}

/// The sample of a name with its labels, or the sum of those that have more labels behind.
fn value(samples: &Samples, name: &str) -> f64 {
    let more = format!("{},", name.trim_end_matches('}'));
    let fits = |key: &str| key == name || name.ends_with('}') && key.starts_with(&more);
    let fitting: Vec<f64> = samples.iter().filter(|(key, _)| fits(key)).map(|(_, value)| *value).collect();
    assert!(!fitting.is_empty(), "no {name}");
    fitting.iter().sum()
}

/// Waits until a sample has a value: shards publish once a second.
pub(crate) async fn until(server: &Server, name: &str, value: f64) {
    until_it(server, name, |found| found == value).await;
}

/// Waits until a sample is above a value.
pub(crate) async fn until_above(server: &Server, name: &str, value: f64) {
    until_it(server, name, |found| found > value).await;
}

async fn until_it(server: &Server, name: &str, fits: impl Fn(f64) -> bool) {
    let wait = async {
        loop {
            let samples = scrape(server).await;
            if fits(value(&samples, name)) {
                return;
            }
            tokio::task::yield_now().await;
        }
    };
    if tokio::time::timeout(PATIENCE, wait).await.is_err() {
        panic!("{name} is still {:?}", value(&scrape(server).await, name));
    }
}

fn sum(samples: &Samples, name: &str, labels: &[&str]) -> f64 {
    samples
        .iter()
        .filter(|(key, _)| {
            key.split('{').next() == Some(name) && labels.iter().all(|label| key.contains(label))
        })
        .map(|(_, value)| value)
        .sum()
}

#[tokio::test]
async fn with_tls_the_certificate_s_expiry_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let key = rcgen::KeyPair::generate().unwrap();
    let mut params = rcgen::CertificateParams::new(["turn.example.org".to_owned()]).unwrap();
    params.not_after = rcgen::date_time_ymd(2999, 1, 1);
    let (cert_file, key_file) = (folder.path().join("cert.pem"), folder.path().join("key.pem"));
    std::fs::write(&cert_file, params.self_signed(&key).unwrap().pem()).unwrap();
    std::fs::write(&key_file, key.serialize_pem()).unwrap();
    let tls = turnpike_config::Tls { listen: Vec::new(), cert_file, key_file, acme: None };
    let server = Server::start(|config| config.tls = Some(tls));
    let samples = scrape(&server).await;
    let expires = samples["turnpike_tls_certificate_not_after_timestamp_seconds"];
    assert_eq!(expires, params.not_after.unix_timestamp() as f64);
    assert_eq!(samples["turnpike_config_last_reload_success"], 1.0);
    let read = samples["turnpike_config_last_reload_timestamp_seconds"];
    assert!(read > 1_700_000_000.0 && read < expires, "{read}");
    server.stop().await;
}

#[tokio::test]
async fn every_metric_has_its_help_and_type_and_every_combination_starts_at_zero() {
    let server = Server::start(|_| {});
    let answer = server.page("/metrics").await;
    assert!(answer.head.contains("content-type: text/plain; version=0.0.4"), "{}", answer.head);
    let text = answer.ok();
    let absent = [
        "tls",
        "acme",
        "selftest",
        "cost",
        "budget",
        "https",
        "billing_period_cost",
        "billing_period_projected_cost",
    ];
    for row in turnpike_relay::metric_catalogue() {
        let name = &row.name;
        assert!(name.starts_with("turnpike_") && !row.help.is_empty(), "{row:?}");
        assert_eq!(name.ends_with("_total"), row.kind == "counter", "{row:?}");
        let is_absent = absent.iter().any(|part| name.starts_with(&format!("turnpike_{part}")));
        let declared = text.contains(&format!("# TYPE {name} {}\n", row.kind));
        assert!(declared || is_absent && row.help.contains("absent"), "{row:?}");
    }
    let samples = samples(&text);
    assert!(samples.len() < 250, "{}", samples.len());
    for (name, value) in &samples {
        let expected = match name.split('{').next().unwrap() {
            _ if name == "turnpike_relay_ports_limit{family=\"ipv6\"}" => 0.0,
            "turnpike_config_last_reload_timestamp_seconds" => {
                assert!(*value > 1e9, "{value}");
                continue;
            }
            "turnpike_host_network_bytes_total" | "turnpike_udp_receive_drops_total" => continue,
            "turnpike_build_info" | "turnpike_config_last_reload_success" => 1.0,
            "turnpike_allocations_limit" => 10_000.0,
            "turnpike_relay_ports_limit" => 12_001.0,
            _ => 0.0,
        };
        assert_eq!(*value, expected, "{name}");
    }
    for name in [
        "turnpike_relay_bytes_total{leg=\"client\",direction=\"in\",transport=\"udp\",family=\"ipv4\",datapath=\"user\"}",
        "turnpike_relay_packets_total{leg=\"peer\",direction=\"out\",transport=\"udp\",datapath=\"user\"}",
        "turnpike_relay_bytes_total{leg=\"client\",direction=\"in\",transport=\"tls\",family=\"ipv6\",datapath=\"user\"}",
        "turnpike_allocations{transport=\"tcp\",family=\"ipv4\"}",
        "turnpike_allocations_created_total{transport=\"tls\"}",
        "turnpike_client_connections{transport=\"tcp\"}",
        "turnpike_relay_dropped_packets_total{reason=\"ring_full\"}",
        "turnpike_allocations_closed_total{cause=\"drain\",used=\"false\"}",
        "turnpike_auth_failures_total{reason=\"integrity\"}",
        "turnpike_peer_denied_total{reason=\"built_in\"}",
        "turnpike_unallocated_bytes_total{kind=\"stun\",direction=\"in\"}",
    ] {
        assert!(samples.contains_key(name), "{name}");
    }
    server.stop().await;
}

#[tokio::test]
async fn totals_are_those_of_live_and_ended_allocations_and_never_fall() {
    let server = Server::start(|config| config.relay.shards = 2);
    let mut ended = Traffic::default();
    let mut seen = Samples::new();
    for round in 0..4 {
        let subject = format!("round-{round}");
        let mut one = Client::allocated(&server, &subject).await;
        one.permit(&[one.relayed.ip()]).await.unwrap();
        for _ in 0..50 {
            one.send_indication(one.relayed, b"to myself").await;
            one.arrival().await;
        }
        one.refresh(0).await.unwrap();
        let line = log::line("allocation closed", &subject).await;
        ended.add(&traffic_of(&line));
        let now = scrape(&server).await;
        for (name, before) in &seen {
            assert!(
                !name.contains("_total") || now[name] >= *before,
                "{name} fell from {before} to {}",
                now[name]
            );
        }
        seen = now;
    }
    let mut live = Client::allocated(&server, "round-live").await;
    live.permit(&[live.relayed.ip()]).await.unwrap();
    let all = {
        let mut all = ended;
        all.add(&server.session(live.relayed).await.traffic);
        all
    };
    until(&server, "turnpike_allocations_created_total{transport=\"udp\"}", 5.0).await;
    until(&server, "turnpike_permissions", 1.0).await;
    let now = scrape(&server).await;
    for (leg, direction, flow) in [
        ("client", "in", all.client_in),
        ("client", "out", all.client_out),
        ("peer", "in", all.peer_in),
        ("peer", "out", all.peer_out),
    ] {
        let labels = [format!("leg=\"{leg}\""), format!("direction=\"{direction}\"")];
        let labels: Vec<&str> = labels.iter().map(String::as_str).collect();
        assert_eq!(sum(&now, "turnpike_relay_bytes_total", &labels), flow.bytes as f64, "{leg} {direction}");
        assert_eq!(
            sum(&now, "turnpike_relay_packets_total", &labels),
            flow.packets as f64,
            "{leg} {direction}"
        );
    }
    assert_eq!(now["turnpike_relay_hairpin_bytes_total"], all.hairpin.bytes as f64);
    assert_eq!(now["turnpike_allocations_closed_total{cause=\"client\",used=\"true\"}"], 4.0);
    assert_eq!(sum(&now, "turnpike_allocations", &[]), 1.0);
    assert_eq!(server.status().await.traffic, all);
    assert_eq!(server.stop().await.traffic, all);
}

fn traffic_of(line: &serde_json::Value) -> Traffic {
    let flow = |name: &str| Flow {
        bytes: line[format!("{name}_bytes")].as_u64().unwrap(),
        packets: line[format!("{name}_packets")].as_u64().unwrap(),
    };
    Traffic {
        client_in: flow("client_in"),
        client_out: flow("client_out"),
        peer_out: flow("peer_out"),
        peer_in: flow("peer_in"),
        hairpin: flow("hairpin"),
    }
}
