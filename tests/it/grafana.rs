//! Dashboards and rules: in order by themselves, and every query of theirs returns data from a real Prometheus that scrapes
//! a real node.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    io::{Read as _, Write as _},
    net::{Ipv4Addr, SocketAddr, TcpStream, UdpSocket},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use serde_json::Value;
use tempfile::TempDir;
use turnpike_turn_client::Credentials;

use crate::{
    http,
    node::{Node, SECRET, Site, in_an_hour},
    redis::Redis,
};

const PATIENCE: Duration = Duration::from_secs(180);

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("grafana")
}

/// A dashboard with the name of its file.
fn dashboards() -> Vec<(String, Value)> {
    let read = |name: &str| {
        let text = fs::read_to_string(folder().join("dashboards").join(name)).unwrap();
        (name.to_owned(), serde_json::from_str(&text).unwrap())
    };
    let names: BTreeSet<String> = fs::read_dir(folder().join("dashboards"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    assert_eq!(names, ["cost.json", "overview.json", "relay.json", "signaling.json"]);
    names.into_iter().map(read).collect()
}

/// Panels that are no rows.
fn panels(dashboard: &Value) -> Vec<&Value> {
    dashboard["panels"].as_array().unwrap().iter().filter(|panel| panel["type"] != "row").collect()
}

fn queries(panel: &Value) -> Vec<&str> {
    panel["targets"].as_array().unwrap().iter().map(|target| target["expr"].as_str().unwrap()).collect()
}

/// One rule of the file, whose form is ours: each key on a line of its own.
#[derive(Debug, Default)]
struct Rule {
    name: String,
    is_alert: bool,
    keys: BTreeMap<String, String>,
}

fn rules() -> Vec<Rule> {
    let text = fs::read_to_string(folder().join("prometheus/turnpike.rules.yml")).unwrap();
    let mut rules: Vec<Rule> = Vec::new();
    for line in text.lines() {
        let line = line.trim();
        let Some((key, value)) = line.trim_start_matches("- ").split_once(": ") else { continue };
        match key {
            "alert" | "record" => {
                rules.push(Rule { name: value.to_owned(), is_alert: key == "alert", ..Rule::default() });
            }
            _ => {
                if let Some(rule) = rules.last_mut() {
                    rule.keys.insert(key.to_owned(), value.to_owned());
                }
            }
        }
    }
    rules.iter().for_each(|rule| assert!(rule.keys.contains_key("expr"), "{rule:?}"));
    rules
}

/// An alert without its comparison.
fn watched(expression: &str) -> &str {
    let place = [" > ", " < "].iter().filter_map(|operator| expression.rfind(operator)).max();
    let (watched, comparison) = expression.split_at(place.expect("an alert ends in a comparison"));
    assert!(comparison[3..].parse::<f64>().is_ok(), "{expression}");
    watched
}

/// Names of our metrics in a text, without the endings of histograms.
fn metrics_in(text: &str) -> BTreeSet<String> {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_' && c != ':');
    let ours = words.filter(|word| word.starts_with("turnpike_"));
    let bare = |word: &str| {
        let ending = ["_bucket", "_sum", "_count"].iter().find_map(|ending| word.strip_suffix(ending));
        ending.unwrap_or(word).to_owned()
    };
    ours.map(bare).collect()
}

fn catalogue() -> BTreeSet<String> {
    let rows = [turnpike_relay::metric_catalogue(), turnpike_signaling::metric_catalogue()].concat();
    rows.into_iter().map(|row| row.name).collect()
}

#[test]
fn every_dashboard_is_in_order() {
    let mut wrong = Vec::new();
    let mut uids = BTreeSet::new();
    let known = catalogue();
    for (name, dashboard) in dashboards() {
        let mut check = |holds: bool, what: String| {
            if !holds {
                wrong.push(format!("{name}: {what}"));
            }
        };
        check(dashboard["schemaVersion"] == 39, "schemaVersion is not 39".to_owned());
        check(dashboard.get("id").is_none(), "it has an id".to_owned());
        let uid = dashboard["uid"].as_str().unwrap_or_default();
        check(uid.starts_with("turnpike-") && uids.insert(uid.to_owned()), format!("its uid {uid}"));
        check(
            dashboard["title"].as_str().is_some_and(|title| title.starts_with("Turnpike / ")),
            "its title".to_owned(),
        );
        check(dashboard["description"].is_string(), "it has no description".to_owned());
        let variables = dashboard["templating"]["list"].as_array().unwrap();
        let kinds: Vec<_> =
            variables.iter().map(|v| (v["name"].as_str().unwrap(), v["type"].as_str().unwrap())).collect();
        check(
            kinds == [("datasource", "datasource"), ("job", "query"), ("instance", "query")],
            format!("its variables {kinds:?}"),
        );
        let all = dashboard["panels"].as_array().unwrap();
        let ids: BTreeSet<u64> = all.iter().map(|panel| panel["id"].as_u64().unwrap()).collect();
        check(ids.len() == all.len(), "ids of panels are not distinct".to_owned());
        let mut taken = BTreeSet::new();
        for panel in all {
            let place = |key: &str| panel["gridPos"][key].as_u64().unwrap();
            let (x, y, w, h) = (place("x"), place("y"), place("w"), place("h"));
            check(x + w <= 24, format!("{} is too wide", panel["title"]));
            let free =
                (x..x + w).flat_map(|x| (y..y + h).map(move |y| (x, y))).all(|cell| taken.insert(cell));
            check(free, format!("{} lies over another", panel["title"]));
            check(
                panel["title"].as_str().is_some_and(|title| !title.is_empty()),
                "a panel has no title".to_owned(),
            );
        }
        for panel in panels(&dashboard) {
            let title = &panel["title"];
            check(
                panel["description"].as_str().is_some_and(|text| text.ends_with('.')),
                format!("{title}: its description"),
            );
            let unit = panel["fieldConfig"]["defaults"]["unit"].as_str();
            check(unit.is_some_and(|unit| !unit.is_empty()), format!("{title}: it has no unit"));
            let sources = panel["targets"].as_array().unwrap().iter().map(|target| &target["datasource"]);
            for source in sources.chain([&panel["datasource"]]) {
                check(source["uid"] == "${datasource}", format!("{title}: its data source {source}"));
            }
            for query in queries(panel) {
                check(!query.contains("$__interval"), format!("{title}: $__interval in {query}"));
                let windows: Vec<&str> =
                    query.split('[').skip(1).filter_map(|rest| rest.split(']').next()).collect();
                let is_known = |window: &&str| ["$__rate_interval", "1h", "24h"].contains(window);
                check(windows.iter().all(is_known), format!("{title}: a window of its own in {query}"));
                let selected = query.matches("job=~\"$job\",instance=~\"$instance\"").count();
                let named = query.matches("turnpike_").count() + query.matches("(up{").count();
                check(selected == named, format!("{title}: a metric of any instance in {query}"));
            }
        }
        for metric in metrics_in(&dashboard.to_string()) {
            check(known.contains(&metric), format!("there is no {metric}"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn every_rule_is_in_order_and_every_alert_has_a_test_that_fires_and_one_that_does_not() {
    let read = |name: &str| fs::read_to_string(folder().join(name)).unwrap();
    let (page, tests) = (read("README.md"), read("prometheus/turnpike.test.yml"));
    let known = catalogue();
    let rules = rules();
    let recorded: BTreeSet<&str> =
        rules.iter().filter(|rule| !rule.is_alert).map(|rule| rule.name.as_str()).collect();
    assert!(recorded.len() >= 4 && rules.len() >= 20, "{rules:#?}");
    for rule in &rules {
        let expression = &rule.keys["expr"];
        for metric in metrics_in(expression) {
            assert!(known.contains(&metric), "{}: there is no {metric}", rule.name);
        }
        if !rule.is_alert {
            continue;
        }
        watched(expression);
        let words = ["for", "severity", "summary", "description", "runbook_url"];
        assert!(words.iter().all(|word| rule.keys.contains_key(*word)), "{rule:?}");
        assert!(["info", "warning", "critical"].contains(&rule.keys["severity"].as_str()), "{rule:?}");
        let anchor = rule.keys["runbook_url"].trim_matches('\'').rsplit('#').next().unwrap();
        assert_eq!(anchor, rule.name.to_lowercase());
        assert!(
            page.contains(&format!("\n### {}\n", rule.name)),
            "{} is not in grafana/README.md",
            rule.name
        );
        for outcome in ["fires", "does not fire"] {
            assert!(tests.contains(&format!("- name: {} {outcome}\n", rule.name)), "{} {outcome}", rule.name);
        }
    }
    for (command, file) in [("check", "turnpike.rules.yml"), ("test", "turnpike.test.yml")] {
        let mut promtool = Command::new("promtool");
        let output = promtool
            .args([command, "rules", file])
            .current_dir(folder().join("prometheus"))
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
    }
}

/// A real one, killed when dropped.
pub(crate) struct Prometheus {
    process: Child,
    address: SocketAddr,
    _folder: TempDir,
}

impl Prometheus {
    /// On the example's configuration, with a node's addresses in it and a scrape each second.
    pub(crate) fn start(site: &Site, address: SocketAddr) -> Self {
        let work = tempfile::tempdir().unwrap();
        let example = fs::read_to_string(folder().join("prometheus/prometheus.yml")).unwrap();
        let rules = folder().join("prometheus/turnpike.rules.yml");
        let mut config = example;
        for (from, to) in [
            ("127.0.0.1:9650", site.relay_metrics.to_string()),
            ("127.0.0.1:9651", site.signaling_metrics.to_string()),
            ("15s", "1s".to_owned()),
            ("turnpike.rules.yml", rules.display().to_string()),
        ] {
            assert!(config.contains(from), "{from} is in the example");
            config = config.replace(from, &to);
        }
        let file = work.path().join("prometheus.yml");
        fs::write(&file, config).unwrap();
        let process = Command::new("prometheus")
            .arg(format!("--config.file={}", file.display()))
            .arg(format!("--storage.tsdb.path={}", work.path().join("data").display()))
            .arg(format!("--web.listen-address={address}"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        Self { process, address, _folder: work }
    }

    /// The results of a query; none while it does not answer.
    pub(crate) fn query(&self, query: &str) -> Vec<Value> {
        let answer =
            self.get(&format!("/api/v1/query?{}", serde_urlencoded::to_string([("query", query)]).unwrap()));
        let Some(answer) = answer else { return Vec::new() };
        assert_eq!(answer["status"], "success", "{query}: {answer}");
        answer["data"]["result"].as_array().unwrap().clone()
    }

    /// By HTTP 1.0, whose answers are in one piece.
    fn get(&self, path: &str) -> Option<Value> {
        let mut stream = TcpStream::connect(self.address).ok()?;
        write!(stream, "GET {path} HTTP/1.0\r\nHost: prometheus\r\n\r\n").ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        serde_json::from_str(answer.split_once("\r\n\r\n")?.1).ok()
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Allocations that come, relay and go.
fn traffic(node: &Node) {
    let peer = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = peer.local_addr().unwrap();
    for nth in 0..5 {
        let credentials = Credentials::mint(SECRET.as_bytes(), in_an_hour(), &format!("user-{nth}"));
        let mut allocation = node.allocate_as(credentials).unwrap();
        allocation.bind(address).unwrap();
        let mut buffer = [0; 2_000];
        for _ in 0..20 {
            allocation.send(address, &[7; 1_000]).unwrap();
            let (length, from) = peer.recv_from(&mut buffer).unwrap();
            peer.send_to(&buffer[..length], from).unwrap();
            allocation.receive(Duration::from_secs(5)).unwrap().unwrap();
        }
        allocation.close().unwrap();
    }
    let unused = node.allocate("unused");
    unused.close().unwrap();
}

#[test]
fn every_query_of_every_panel_and_rule_returns_data_from_a_real_prometheus() {
    let mut site =
        Site::new(Ipv4Addr::LOCALHOST, "allow_peers = [\"127.0.0.1/32\"]\ndrain_timeout = \"0s\"").with_tls();
    let prometheus = SocketAddr::from((Ipv4Addr::LOCALHOST, site.ports.listener()));
    let redis = Redis::start();
    let mut command = site.command(&["run"]);
    command
        .env("TURNPIKE_REDIS__URL", redis.url())
        .env("TURNPIKE_METRICS__SELFTEST", "1s")
        .env("TURNPIKE_COST__PRESET", "vultr")
        .env("TURNPIKE_COST__COMPARE", "[{ vendor = \"cloudflare\" }]")
        .env("TURNPIKE_BUDGET__PER_PERIOD", "900GiB");
    let node = site.start_by(command);
    let prometheus = Prometheus::start(&node.site, prometheus);
    let mut missing: BTreeSet<String> = BTreeSet::new();
    for (_, dashboard) in dashboards() {
        let panels = panels(&dashboard);
        let all = panels.iter().flat_map(|panel| queries(panel));
        missing.extend(all.map(|query| {
            query.replace("$job", ".*").replace("$instance", ".*").replace("$__rate_interval", "1m")
        }));
    }
    for rule in rules() {
        let expression = &rule.keys["expr"];
        missing.insert(if rule.is_alert { watched(expression).to_owned() } else { rule.name.clone() });
    }
    assert!(missing.len() > 80, "{}", missing.len());
    let deadline = Instant::now() + PATIENCE;
    while !missing.is_empty() {
        assert!(Instant::now() < deadline, "nothing comes back from {missing:#?}");
        traffic(&node);
        missing.retain(|query| prometheus.query(query).is_empty());
        thread::sleep(Duration::from_millis(200));
    }
    let rules = prometheus.get("/api/v1/rules").unwrap();
    for group in rules["data"]["groups"].as_array().unwrap() {
        for rule in group["rules"].as_array().unwrap() {
            assert_eq!(rule["health"], "ok", "{rule}");
        }
    }

    let services = [node.site.relay_metrics, node.site.signaling_metrics];
    let texts = services.map(|service| http::get(service, "/metrics"));
    for text in &texts {
        let mut promtool = Command::new("promtool")
            .args(["check", "metrics"])
            .stdin(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        promtool.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
        let output = promtool.wait_with_output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let known = catalogue();
        let names = text
            .lines()
            .filter(|line| !line.starts_with('#'))
            .filter_map(|line| line.split(['{', ' ']).next());
        names.flat_map(metrics_in).for_each(|name| assert!(known.contains(&name), "{name}"));
    }
    let quantity = prometheus.query("sum(turnpike_billing_period_billed_bytes)");
    assert!(quantity[0]["value"][1].as_str().unwrap().parse::<f64>().unwrap() > 100_000.0, "{quantity:?}");
}
