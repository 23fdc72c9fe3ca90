//! A certificate by ACME: got, renewed, and not got, while the relay serves.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::{Ipv4Addr, SocketAddr, TcpStream},
    os::unix::fs::PermissionsExt as _,
    process::Command,
    time::{Duration, Instant},
};

use turnpike_relay_api::admin::Status;

use crate::{
    acme_server::AcmeServer,
    authority::DOMAIN,
    http,
    node::{Node, Site},
    port_443::{allocate, connect},
};

const LONG: Duration = Duration::from_secs(86_400);
/// Renewed after two thirds of it.
const SHORT: Duration = Duration::from_secs(12);

/// A site that gets its certificates from a server of its own, and where that asks for what proves the name.
fn site(lasting: Duration, keys: &str) -> (Site, AcmeServer, SocketAddr) {
    let mut site = Site::new(Ipv4Addr::LOCALHOST, "allow_peers = [\"127.0.0.1/32\"]\ndrain_timeout = \"0s\"");
    let mut local = || SocketAddr::from((Ipv4Addr::LOCALHOST, site.ports.listener()));
    let (tls, asks) = (local(), local());
    let server = AcmeServer::start(asks, lasting, site.folder.path());
    let config = fs::read_to_string(site.config()).unwrap();
    let config = config.replace("[node]\n", &format!("[node]\ndomain = \"{DOMAIN}\"\n"));
    let config = format!(
        "{config}\n[tls]\nmode = \"acme\"\nlisten = [\"{tls}\"]\nacme_http_listen = [\"{asks}\"]\n\
         acme_email = \"admin@example.org\"\nacme_directory = \"{}\"\n{keys}\n",
        server.directory()
    );
    fs::write(site.config(), config).unwrap();
    site.tls = Some(tls);
    (site, server, asks)
}

/// A relay that trusts the server.
fn start(site: Site) -> Node {
    let mut command: Command = site.command(&["run"]);
    command.env("SSL_CERT_FILE", site.authority_file());
    site.start_by(command)
}

fn wait_for_certificates(node: &Node, count: usize) {
    let is_one = |line: &&serde_json::Value| {
        line["message"].as_str().is_some_and(|said| said.starts_with("new TLS certificate taken: "))
    };
    node.log.wait_until(|lines| (lines.iter().filter(is_one).count() >= count).then_some(()));
}

fn plain(address: SocketAddr, path: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: elsewhere.example\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn a_certificate_is_got_at_the_first_start_and_kept_for_the_next() {
    let (site, server, asks) = site(LONG, "acme_eab_key_id = \"kid-1\"\nacme_eab_key_file = \"eab\"");
    fs::write(site.folder.path().join("eab"), "c2VjcmV0LXNlY3JldC1zZWNyZXQtc2VjcmV0").unwrap();
    let mut node = start(site);
    wait_for_certificates(&node, 1);
    let refreshed = allocate(&node.site, "alice").refresh(None);
    refreshed.unwrap();
    assert_eq!(server.bound_to().as_deref(), Some("kid-1"));

    let port = node.site.tls.unwrap().port();
    let sent_on = plain(asks, "/a?b");
    assert!(sent_on.starts_with("HTTP/1.1 308 "), "{sent_on}");
    assert!(sent_on.contains(&format!("location: https://{DOMAIN}:{port}/a?b\r\n")), "{sent_on}");
    assert!(
        plain(asks, "/.well-known/acme-challenge/token-0").starts_with("HTTP/1.1 404 "),
        "the order is over"
    );
    let folder = node.site.folder.path().join("state/acme");
    for file in ["account.json", "fullchain.pem", "privkey.pem"] {
        assert_eq!(fs::metadata(folder.join(file)).unwrap().permissions().mode() & 0o777, 0o600, "{file}");
    }
    let deadline = Instant::now() + Duration::from_secs(20);
    let left = loop {
        let certificate = node.admin::<Status>("/v1/status").certificate.unwrap();
        match certificate.acme.unwrap().next_attempt {
            0 => assert!(Instant::now() < deadline, "the renewal is not planned"),
            next => break certificate.not_after.unwrap() - next,
        }
    };
    assert!((28_000..30_000).contains(&left), "a third of a day is left: {left}");
    let shown = node.site.command(&["cert", "status"]).output().unwrap();
    let shown = String::from_utf8_lossy(&shown.stdout).into_owned();
    assert!(shown.contains(&format!("for {DOMAIN} until ")), "{shown}");
    assert!(shown.contains("ok    acme        renewed "), "{shown}");

    node.terminate();
    assert!(node.exit(Duration::from_secs(20)).success());
    let node = node.restart_by(|site| {
        let mut command = site.command(&["run"]);
        command.env("SSL_CERT_FILE", site.authority_file());
        command
    });
    allocate(&node.site, "bob").refresh(None).unwrap();
    assert_eq!((server.accounts(), server.issued()), (1, 1), "what is good is not got again");
}

#[test]
fn a_renewal_drops_no_connection_and_the_next_one_sees_the_new_certificate() {
    let (site, server, _) = site(SHORT, "");
    let node = start(site);
    wait_for_certificates(&node, 1);
    let before = connect(&node.site, &["stun.turn"]);
    let mut live = allocate(&node.site, "alice");
    wait_for_certificates(&node, 2);
    live.refresh(None).unwrap();
    live.permit(&["127.0.0.1".parse().unwrap()]).unwrap();
    let after = connect(&node.site, &["stun.turn"]);
    assert_ne!(before.conn.peer_certificates().unwrap()[0], after.conn.peer_certificates().unwrap()[0]);
    assert_eq!(server.accounts(), 1, "the account is kept");
}

#[test]
fn a_renewal_that_fails_is_seen_everywhere_and_drops_nobody() {
    let (site, server, _) = site(SHORT, "");
    let node = start(site);
    wait_for_certificates(&node, 1);
    let mut live = allocate(&node.site, "alice");
    server.refuse();
    let failed =
        node.log.wait_until(|lines| lines.iter().find(|line| line["code"] == "acme_failed").cloned());
    let why = format!("could not ask {DOMAIN} over HTTP ({DOMAIN}: Connection refused)");
    assert!(failed["message"].as_str().unwrap().contains(&why), "{failed}");
    assert_eq!(failed["again_in_seconds"], 60);
    live.refresh(None).unwrap();

    let said = |command: &[&str]| {
        let output = node.site.command(command).output().unwrap();
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let acme = node.admin::<Status>("/v1/status").certificate.unwrap().acme.unwrap();
    assert!(acme.failures == 1 && acme.last_error.unwrap().contains(&why));
    assert!(said(&["status"]).contains("; ACME fails: "), "{}", said(&["status"]));
    let doctor = said(&["doctor", "--only", "tls"]);
    assert!(doctor.contains("FAIL  tls         ACME has failed 1 times: "), "{doctor}");
    let metrics = http::get(node.site.relay_metrics, "/metrics");
    assert!(metrics.contains("\nturnpike_acme_failures 1\n"), "{metrics}");
}

#[test]
fn without_an_authority_the_relay_serves_all_but_tls() {
    let (site, server, _) = site(LONG, "");
    let config = fs::read_to_string(site.config()).unwrap();
    // Port 1 is nobody's.
    fs::write(site.config(), config.replace(&server.directory(), "https://127.0.0.1:1/directory")).unwrap();
    let node = start(site);
    let started = Instant::now();
    node.log.wait_until(|lines| lines.iter().find(|line| line["code"] == "acme_failed").cloned());
    assert!(started.elapsed() < Duration::from_secs(15));
    node.allocate("alice").refresh(None).unwrap();
    let doctor = node.site.command(&["doctor", "--only", "tls"]).output().unwrap();
    assert_eq!(doctor.status.code(), Some(1));
    let check = node.site.command(&["config", "check"]).output().unwrap();
    assert!(check.status.success(), "{}", String::from_utf8_lossy(&check.stdout));
}
