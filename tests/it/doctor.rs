//! What `turnpike doctor` finds, in a node that is in order and in those that are not.

use std::{
    fs::{self, File},
    net::{Ipv4Addr, UdpSocket},
    process::{Command, Output},
    time::{Duration, SystemTime},
};

use serde_json::Value;

use crate::{authority::DOMAIN, node::Site};

struct Diagnosis {
    findings: Vec<(String, String, String)>,
    code: Option<i32>,
}

impl Diagnosis {
    fn of(mut command: Command) -> Self {
        let output: Output = command.output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        let findings: Vec<Value> =
            serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{said}"));
        let text = |finding: &Value, key: &str| finding[key].as_str().unwrap().to_owned();
        let findings =
            findings.iter().map(|f| (text(f, "group"), text(f, "verdict"), text(f, "found"))).collect();
        Self { findings, code: output.status.code() }
    }

    fn verdicts(&self, group: &str) -> Vec<&str> {
        self.findings.iter().filter(|(of, ..)| of == group).map(|(_, verdict, _)| verdict.as_str()).collect()
    }

    /// Something of that group and verdict is said that begins or goes on so.
    fn assert_says(&self, group: &str, verdict: &str, part: &str) {
        let is_it = |(of, is, found): &&(String, String, String)| {
            of == group && is == verdict && found.contains(part)
        };
        assert!(
            self.findings.iter().any(|finding| is_it(&finding)),
            "{group} {verdict} {part}: {:#?}",
            self.findings
        );
        assert_eq!(self.code, Some(i32::from(self.findings.iter().any(|(_, verdict, _)| verdict == "fail"))));
    }
}

fn doctor(site: &Site, groups: &[&str]) -> Diagnosis {
    let mut command = site.command(&["doctor", "--json"]);
    command.args(groups.iter().flat_map(|group| ["--only", group]));
    Diagnosis::of(command)
}

fn edit(site: &Site, from: &str, to: &str) {
    let config = fs::read_to_string(site.config()).unwrap();
    assert!(config.contains(from), "{config}");
    fs::write(site.config(), config.replace(from, to)).unwrap();
}

fn site() -> Site {
    Site::new(Ipv4Addr::LOCALHOST, "allow_peers = [\"127.0.0.1/32\"]")
}

#[test]
fn a_node_in_order_has_nothing_failed() {
    let node = site().start("run");
    let found = doctor(&node.site, &[]);
    assert_eq!(found.code, Some(0), "{:#?}", found.findings);
    assert_eq!(found.verdicts("turn"), ["ok", "ok"], "{:#?}", found.findings);
    assert_eq!(found.verdicts("signaling"), ["ok"]);
    assert_eq!(found.verdicts("firewall"), ["unknown"]);
    assert_eq!(
        found.verdicts("cost"),
        ["unknown", "warn"],
        "neither price nor budget is set: {:#?}",
        found.findings
    );
    assert!(found.verdicts("ports").iter().all(|verdict| *verdict == "ok"), "{:#?}", found.findings);

    let text = node.site.command(&["doctor"]).output().unwrap();
    let text = String::from_utf8_lossy(&text.stdout).into_owned();
    assert!(text.contains("\n?     firewall    whether packets from outside"), "{text}");
}

#[test]
fn services_that_do_not_run_or_do_not_serve_are_named() {
    let site = site();
    let away = doctor(&site, &["turn", "signaling"]);
    away.assert_says("turn", "fail", "no relay answers on");
    away.assert_says("signaling", "fail", "start it with `turnpike signaling`");

    let node = site.start("relay");
    assert!(node.site.command(&["drain"]).status().unwrap().success());
    let drains = doctor(&node.site, &["turn"]);
    drains.assert_says("turn", "warn", "`turnpike undrain`");
    drains.assert_says("turn", "fail", "508");
    drop(node);

    let alone = self::site().start("signaling");
    let deadline = std::time::Instant::now() + Duration::from_secs(20);
    while doctor(&alone.site, &["signaling"]).verdicts("signaling") != ["fail"] {
        assert!(std::time::Instant::now() < deadline, "signaling finds a relay that is not there");
    }
    doctor(&alone.site, &["signaling"]).assert_says("signaling", "fail", "is turnpike-relay running");
}

#[test]
fn a_budget_and_what_is_projected_beyond_what_is_included_are_told() {
    let site = site();
    edit(
        &site,
        "[log]\n",
        "[budget]\nper_period = \"1GiB\"\n\n[cost]\nincluded = \"1B\"\ntiers = [{ up_to = \"\", per_tb = 1.0 }]\n\n[log]\n",
    );
    doctor(&site, &["cost"]).assert_says("cost", "unknown", "no relay answers");
    let node = site.start("relay");
    let mut peer = node.allocate("alice");
    let mut allocation = node.allocate("bob");
    allocation.permit(&[peer.relayed().ip()]).unwrap();
    peer.permit(&[allocation.relayed().ip()]).unwrap();
    let deadline = std::time::Instant::now() + Duration::from_secs(20);
    loop {
        allocation.send(peer.relayed(), &[0; 1000]).unwrap();
        let found = doctor(&node.site, &["cost"]);
        if found.verdicts("cost") == ["warn", "ok"] {
            return found.assert_says("cost", "warn", "the rest is billed by the byte");
        }
        assert!(std::time::Instant::now() < deadline, "{:#?}", found.findings);
    }
}

#[test]
fn a_secret_that_the_relay_does_not_have_is_named() {
    let node = site().start("relay");
    fs::write(node.site.folder.path().join("secret"), "a secret that came later, without a reload").unwrap();
    doctor(&node.site, &["turn"]).assert_says("turn", "fail", "the server signs with another secret");
}

#[test]
fn ports_that_others_have_are_named() {
    let site = site();
    let _taken = UdpSocket::bind(site.turn).unwrap();
    doctor(&site, &["ports"]).assert_says("ports", "fail", "is in use: stop what `ss -lpn` shows there");
    edit(&site, "port_range = [", "port_range = [33000, 33100]\n# [");
    doctor(&site, &["ports"]).assert_says("ports", "warn", "sysctl -w net.ipv4.ip_local_reserved_ports=");
}

#[test]
fn addresses_that_lead_elsewhere_are_named() {
    let site = site();
    doctor(&site, &["address"]).assert_says("address", "warn", "no node.domain");
    edit(&site, "[node]\n", "[node]\ndomain = \"nowhere.invalid\"\n");
    doctor(&site, &["address"]).assert_says(
        "address",
        "fail",
        "make a DNS record nowhere.invalid A 127.0.0.1",
    );
    edit(&site, "nowhere.invalid", "localhost");
    edit(&site, "127.0.0.1\"\nallow_private", "198.18.0.1\"\nallow_private");
    let elsewhere = doctor(&site, &["address"]);
    elsewhere.assert_says("address", "fail", "localhost leads to 127.0.0.1, and this node is 198.18.0.1");
    elsewhere.assert_says("address", "unknown", "on no interface of this machine");
}

#[test]
fn certificates_that_browsers_refuse_are_named() {
    doctor(&site(), &["tls"]).assert_says("tls", "warn", "TLS is off");
    let site = site().with_tls();
    doctor(&site, &["tls"]).assert_says("tls", "ok", "certificate");
    edit(&site, &format!("domain = \"{DOMAIN}\""), "domain = \"other.example\"");
    doctor(&site, &["tls"]).assert_says("tls", "fail", "other.example");
    fs::write(site.folder.path().join("key.pem"), "no key").unwrap();
    doctor(&site, &["tls"]).assert_says("tls", "fail", "key.pem");
    fs::remove_file(site.folder.path().join("cert.pem")).unwrap();
    doctor(&site, &["tls"]).assert_says("tls", "fail", "cert.pem");
}

#[test]
fn a_clock_that_is_behind_its_own_program_is_named() {
    let site = site();
    let copy = site.folder.path().join("turnpike");
    fs::copy(env!("CARGO_BIN_EXE_turnpike"), &copy).unwrap();
    let tomorrow = SystemTime::now() + Duration::from_secs(86_400);
    File::options().append(true).open(&copy).unwrap().set_modified(tomorrow).unwrap();
    let mut command = Command::new(copy);
    command.args(["doctor", "--json", "--only", "clock", "--config"]).arg(site.config());
    Diagnosis::of(command).assert_says("clock", "fail", "the clock is behind");
}

#[test]
fn a_full_disk_and_a_low_file_limit_are_named() {
    let site = site();
    doctor(&site, &["usage"]).assert_says("usage", "warn", "does not exist yet");
    let state = site.folder.path().join("state");
    fs::create_dir(&state).unwrap();
    let mounted =
        Command::new("mount").args(["-t", "tmpfs", "-o", "size=1m", "tmpfs"]).arg(&state).status().unwrap();
    assert!(mounted.success());
    let found = doctor(&site, &["usage"]);
    assert!(Command::new("umount").arg(&state).status().unwrap().success());
    found.assert_says("usage", "fail", "usage is about to be lost");

    let mut low = Command::new("sh");
    let binary = env!("CARGO_BIN_EXE_turnpike");
    low.args(["-c", &format!("ulimit -n 300; exec {binary} doctor --json --only limits --config $0")])
        .arg(site.config());
    Diagnosis::of(low).assert_says("limits", "warn", "raise LimitNOFILE=");
}

#[test]
fn without_a_secret_or_with_an_unknown_group_it_says_what_to_do() {
    let site = site();
    let unknown = site.command(&["doctor", "--only", "weather"]).output().unwrap();
    assert_eq!(unknown.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&unknown.stderr).contains("take one of config, address"), "{unknown:?}");
    fs::remove_file(site.folder.path().join("secret")).unwrap();
    let missing = site.command(&["doctor"]).output().unwrap();
    assert_eq!(missing.status.code(), Some(2), "{missing:?}");
}

#[test]
fn a_redis_that_is_not_there_is_named_with_its_cure() {
    let site = site();
    doctor(&site, &["redis"]).assert_says("redis", "ok", "this node is alone");
    edit(&site, "[log]\n", "[redis]\nurl = \"redis://:hunter2@127.0.0.1:1\"\n\n[log]\n");
    let found = doctor(&site, &["redis"]);
    found.assert_says("redis", "fail", "see that it runs (`systemctl status redis-server`)");
    assert!(!format!("{:?}", found.findings).contains("hunter2"));
}

/// A Redis of the test's own, killed when dropped.
struct Redis(std::process::Child);

impl Redis {
    fn start(folder: &std::path::Path, arguments: &[&str]) -> Self {
        let mut command = Command::new("redis-server");
        command.current_dir(folder).args(["--save", "", "--unixsocket", "redis.sock"]).args(arguments);
        let redis = Self(command.stdout(std::process::Stdio::null()).spawn().unwrap());
        let deadline = std::time::Instant::now() + Duration::from_secs(20);
        while std::os::unix::net::UnixStream::connect(folder.join("redis.sock")).is_err() {
            assert!(std::time::Instant::now() < deadline, "Redis does not start");
            std::thread::sleep(Duration::from_millis(20));
        }
        redis
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn redis_is_reached_over_tls_and_by_its_socket() {
    let mut site = site();
    let folder = site.folder.path().to_owned();
    let authority = crate::authority::Authority::new();
    authority.sign(&folder, &["localhost"]);
    fs::write(folder.join("authority.pem"), authority.pem()).unwrap();
    let port = site.ports.listener().to_string();
    let tls =
        ["--tls-cert-file", "cert.pem", "--tls-key-file", "key.pem", "--tls-ca-cert-file", "authority.pem"];
    let arguments = [&["--port", "0", "--tls-auth-clients", "no", "--tls-port", &port][..], &tls].concat();
    let _redis = Redis::start(&folder, &arguments);
    edit(&site, "[log]\n", &format!("[redis]\nurl = \"rediss://localhost:{port}\"\n\n[log]\n"));
    let trusting = |site: &Site| {
        let mut command = site.command(&["doctor", "--json", "--only", "redis"]);
        command.env("SSL_CERT_FILE", folder.join("authority.pem"));
        Diagnosis::of(command)
    };
    trusting(&site).assert_says("redis", "ok", "Redis 7");
    doctor(&site, &["redis"]).assert_says("redis", "fail", "does not answer");
    edit(&site, &format!("rediss://localhost:{port}"), &format!("unix://{}/redis.sock", folder.display()));
    doctor(&site, &["redis"]).assert_says("redis", "ok", "Redis 7");
}
