//! What is installed beside the binary, by the judgement of those who read it: systemd, nftables, fail2ban.

use std::{
    fs,
    io::{BufRead as _, BufReader},
    net::Ipv4Addr,
    path::Path,
    process::{Command, Stdio},
};

use rustix::process::{Pid, Signal, kill_process};
use turnpike_turn_client::Credentials;

use crate::node::{Site, turnpike};

const UNITS: [&str; 3] = ["turnpike-relay.service", "turnpike-signaling.service", "turnpike.target"];

/// The units as installed into a root of their own, whose programs are there.
fn installed() -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    let units = root.path().join("units");
    fs::create_dir(&units).unwrap();
    for unit in UNITS {
        let text = fs::read_to_string(source(unit)).unwrap();
        // Verified is what is installed, and this program may not be.
        let text = text.replace("/usr/bin/turnpike", env!("CARGO_BIN_EXE_turnpike"));
        fs::write(units.join(unit), text).unwrap();
    }
    root
}

fn source(name: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("systemd").join(name)
}

fn analyze(arguments: &[&str]) -> String {
    let output = Command::new("systemd-analyze").args(arguments).env("SYSTEMD_COLORS", "0").output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said).into_owned();
    assert!(output.status.success(), "{said}");
    said
}

#[test]
fn the_units_are_without_fault() {
    let root = installed();
    for unit in UNITS {
        let path = root.path().join("units").join(unit);
        let said = analyze(&["verify", "--man=no", path.to_str().unwrap()]);
        let ours: Vec<_> = said.lines().filter(|line| line.contains("turnpike")).collect();
        assert!(ours.is_empty(), "{ours:#?}");
    }
}

#[test]
fn the_services_are_exposed_as_little_as_can_be() {
    for (unit, most) in [("turnpike-relay.service", 1.5), ("turnpike-signaling.service", 1.2)] {
        let path = source(unit);
        let said = analyze(&["security", "--offline=true", "--no-pager", path.to_str().unwrap()]);
        let overall =
            said.lines().find_map(|line| line.split_once(": ").filter(|(what, _)| what.contains("Overall")));
        let level: f32 = overall.unwrap().1.split(' ').next().unwrap().parse().unwrap();
        assert!(level <= most, "{unit}: {said}");
    }
}

#[test]
fn the_user_the_folders_and_the_kernel_settings_are_taken() {
    let root = tempfile::tempdir().unwrap();
    fs::create_dir(root.path().join("etc")).unwrap();
    let tool = |program: &str, arguments: &[&str]| {
        let path = format!("--root={}", root.path().display());
        let output = Command::new(program).arg(path).args(arguments).output().unwrap();
        assert!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&output.stderr));
    };
    tool("systemd-sysusers", &[source("sysusers.d/turnpike.conf").to_str().unwrap()]);
    let users = fs::read_to_string(root.path().join("etc/passwd")).unwrap();
    assert!(users.contains("turnpike:x:"), "{users}");
    tool("systemd-tmpfiles", &["--create", source("tmpfiles.d/turnpike.conf").to_str().unwrap()]);
    assert!(root.path().join("run/turnpike").is_dir());

    for line in fs::read_to_string(source("sysctl.d/60-turnpike.conf")).unwrap().lines() {
        let Some((key, value)) = line.split_once(" = ").filter(|_| !line.starts_with('#')) else { continue };
        let path = Path::new("/proc/sys").join(key.replace('.', "/"));
        // Some exist in the first network namespace only.
        assert!(path.exists() || key.starts_with("net.core."), "{key} = {value}");
    }
}

#[test]
fn the_firewalls_open_what_ports_prints() {
    let nft = source("nftables/turnpike.nft");
    let checked = Command::new("nft").args(["--check", "--file"]).arg(&nft).output().unwrap();
    assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stderr));

    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("turnpike.toml");
    fs::write(
        &config,
        "[node]\ndomain = \"turn.example.org\"\npublic_ipv4 = \"198.18.0.1\"\nallow_private_address = true\n\
         [tls]\nmode = \"acme\"\n",
    )
    .unwrap();
    let printed =
        turnpike(&["ports", "--format", "ufw", "--config", config.to_str().unwrap()]).output().unwrap();
    let printed = String::from_utf8(printed.stdout).unwrap();
    let mut opened: Vec<&str> = printed.lines().map(|line| line.split(' ').nth(2).unwrap()).collect();
    let profile = fs::read_to_string(source("ufw/turnpike")).unwrap();
    let mut profile: Vec<&str> =
        profile.lines().find_map(|line| line.strip_prefix("ports=")).unwrap().split('|').collect();
    opened.sort_unstable();
    profile.sort_unstable();
    assert_eq!(profile, opened);
}

#[test]
fn fail2ban_finds_who_was_not_let_in_in_the_log() {
    let site = Site::new(Ipv4Addr::LOCALHOST, "");
    let config = fs::read_to_string(site.config()).unwrap();
    fs::write(site.config(), config.replace("format = \"json\"", "format = \"text\"")).unwrap();
    let mut relay = site.command(&["relay"]).stderr(Stdio::piped()).spawn().unwrap();
    let mut log = BufReader::new(relay.stderr.take().unwrap()).lines().map(Result::unwrap);
    assert!(log.any(|line| line.contains(" ready ")), "it starts");
    site.allocate_as(Credentials::new("nobody", "nothing")).err().unwrap();
    kill_process(Pid::from_child(&relay), Signal::TERM).unwrap();
    let rest: Vec<String> = log.collect();
    relay.wait().unwrap();

    let path = site.folder.path().join("log");
    fs::write(&path, rest.join("\n") + "\n").unwrap();
    let filter = source("fail2ban/filter.d/turnpike.conf");
    let found = Command::new("fail2ban-regex").arg(&path).arg(filter).output().unwrap();
    let found = String::from_utf8_lossy(&found.stdout).into_owned();
    assert!(found.contains(" 1 matched, "), "{found}\n{rest:#?}");
}
