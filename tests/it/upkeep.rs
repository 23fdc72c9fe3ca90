//! What a sysadmin does beside the services: ports, secrets, draining, pages of the command line.

use std::{
    fs,
    net::Ipv4Addr,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _},
    path::Path,
    process::Output,
    time::{Duration, SystemTime},
};

use turnpike_turn_client::{Credentials, Error};

use crate::node::{Node, SECRET, Site, in_an_hour, turnpike};

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&[&output.stdout[..], &output.stderr[..]].concat()).into_owned()
}

fn ok(site: &Site, command: &[&str]) -> String {
    let output = site.command(command).output().unwrap();
    assert!(output.status.success(), "{}", text(&output));
    text(&output)
}

fn ports(config: &str, format: &str) -> String {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("turnpike.toml");
    fs::write(&path, config).unwrap();
    let output =
        turnpike(&["ports", "--config", path.to_str().unwrap(), "--format", format]).output().unwrap();
    assert!(output.status.success(), "{}", text(&output));
    text(&output)
}

const CONFIG: &str = r#"
[node]
domain = "turn.example.org"
public_ipv4 = "198.18.0.1"
allow_private_address = true
[relay]
port_range = [50000, 50999]
[tls]
mode = "files"
cert_file = "cert.pem"
key_file = "key.pem"
"#;

#[test]
fn ports_names_what_strangers_must_reach_and_nothing_of_loopback() {
    let table = ports(CONFIG, "table");
    assert_eq!(
        table.lines().collect::<Vec<_>>(),
        [
            "Port             What for",
            "3478/udp         STUN and TURN",
            "3478/tcp         STUN and TURN where UDP is blocked",
            "443/tcp          TURN over TLS, and the page over HTTPS",
            "5349/tcp         TURN over TLS, and the page over HTTPS",
            "50000-50999/udp  relayed media",
        ]
    );
    assert!(ports(CONFIG, "ufw").contains("ufw allow 50000:50999/udp comment 'turnpike: relayed media'\n"));
    let json: serde_json::Value = serde_json::from_str(&ports(CONFIG, "json")).unwrap();
    assert_eq!((&json[4]["first"], &json[4]["last"]), (&50_000.into(), &50_999.into()));
    let plain = ports(&CONFIG[..CONFIG.find("[tls]").unwrap()], "table");
    assert!(plain.contains("8080/tcp") && !plain.contains("443/tcp"), "{plain}");
}

#[test]
fn nftables_takes_the_rules_of_ports() {
    let rules: String = ports(CONFIG, "nft").lines().map(|line| format!("    {line}\n")).collect();
    let table = format!("table inet check {{\n  chain input {{\n{rules}  }}\n}}\n");
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("rules.nft");
    fs::write(&path, &table).unwrap();
    let output = std::process::Command::new("nft").args(["--check", "--file"]).arg(&path).output().unwrap();
    assert!(output.status.success(), "{}\n{table}", text(&output));
}

#[test]
fn a_rotated_secret_signs_the_old_one_is_taken_and_prune_ends_that() {
    let site = Site::new(Ipv4Addr::LOCALHOST, "");
    let path = site.folder.path().join("secret");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
    std::os::unix::fs::chown(&path, Some(0), Some(4711)).unwrap();
    let before = ok(&site, &["secret", "fingerprint"]);
    assert_eq!(before.lines().count(), 1, "{before}");

    let rotated = ok(&site, &["secret", "rotate"]);
    assert!(rotated.contains("systemctl reload") && rotated.contains("turnpike secret prune"), "{rotated}");
    let lines: Vec<String> = fs::read_to_string(&path).unwrap().lines().map(str::to_owned).collect();
    assert!(lines.len() == 2 && lines[0].len() >= 64 && lines[1] == SECRET);
    let file = fs::metadata(&path).unwrap();
    assert_eq!((file.mode() & 0o777, file.gid()), (0o640, 4711), "for the same users as before");
    assert!(rotated.contains(&before.replace("signs", "is taken")), "{rotated}");

    let early = site.command(&["secret", "prune"]).output().unwrap();
    assert!(!early.status.success() && text(&early).contains("--now"), "{}", text(&early));
    let long_ago = SystemTime::now() - Duration::from_secs(3_600);
    fs::File::options().write(true).open(&path).unwrap().set_modified(long_ago).unwrap();
    ok(&site, &["secret", "prune"]);
    assert_eq!(fs::read_to_string(&path).unwrap(), format!("{}\n", lines[0]));
    let left: Vec<_> =
        fs::read_dir(site.folder.path()).unwrap().map(|file| file.unwrap().file_name()).collect();
    assert_eq!(left.len(), 2, "no draft is left: {left:?}");
    fs::remove_file(Path::new(&path)).unwrap();
    let missing = site.command(&["secret", "rotate"]).output().unwrap();
    assert_eq!(missing.status.code(), Some(2), "{}", text(&missing));
}

#[test]
fn a_drain_is_waited_for_and_taken_back() {
    let node = Node::relay("");
    let allocation = node.allocate("alice");
    let waited = node.site.command(&["drain", "--timeout", "300ms"]).output().unwrap();
    assert_eq!(waited.status.code(), Some(1), "{}", text(&waited));
    assert!(text(&waited).contains("1 live still after 300ms"), "{}", text(&waited));
    let bob = || node.allocate_as(Credentials::mint(SECRET.as_bytes(), in_an_hour(), "bob"));
    assert!(matches!(bob(), Err(Error::Refused { code: 508 })));

    allocation.close().unwrap();
    assert!(ok(&node.site, &["drain", "--timeout", "20s"]).contains("none is left"));
    assert!(ok(&node.site, &["undrain"]).contains("serves"));
    bob().unwrap();
    drop(node);
    let away = Site::new(Ipv4Addr::LOCALHOST, "").command(&["drain"]).output().unwrap();
    assert_eq!(away.status.code(), Some(3), "{}", text(&away));
}

#[test]
fn shells_and_man_are_served() {
    for shell in ["bash", "zsh", "fish"] {
        let output = turnpike(&["completion", shell]).output().unwrap();
        assert!(output.status.success() && text(&output).contains("undrain"), "{shell}");
    }
    let folder = tempfile::tempdir().unwrap();
    assert!(turnpike(&["man", "--dir", folder.path().to_str().unwrap()]).status().unwrap().success());
    for page in [
        "turnpike.1",
        "turnpike-probe.1",
        "turnpike-secret-rotate.1",
        "turnpike-init.1",
        "turnpike-config-explain.1",
        "turnpike-import-coturn.1",
        "turnpike-cert-install.1",
    ] {
        assert!(fs::read_to_string(folder.path().join(page)).unwrap().contains(".SH NAME"), "{page}");
    }
    assert!(text(&turnpike(&["man"]).output().unwrap()).contains("turnpike"));
}
