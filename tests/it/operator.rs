//! What an operator asks for beside running the services: what is configured and why, what to hand to others, what to
//! take over from elsewhere.

use std::{
    fs,
    net::Ipv4Addr,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _},
    process::{Command, Output},
};

use crate::{
    authority::{Authority, DOMAIN},
    node::{Node, SECRET, Site, turnpike},
    port_443::connect,
    reload,
};

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&[&output.stdout[..], &output.stderr[..]].concat()).into_owned()
}

fn ok(mut command: Command) -> String {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", text(&output));
    text(&output)
}

fn append(site: &Site, lines: &str) {
    let config = fs::read_to_string(site.config()).unwrap();
    fs::write(site.config(), format!("{config}\n{lines}\n")).unwrap();
}

const PASSWORDS: &str = "[[auth.static_user]]\nusername = \"alice\"\npassword = \"a long password\"\n";

#[test]
fn show_tells_each_value_and_where_it_comes_from() {
    let site = Site::new(Ipv4Addr::LOCALHOST, "max_allocations = 40");
    append(&site, PASSWORDS);
    let show = |arguments: &[&str]| {
        let mut command = site.command(&[&["config", "show"], arguments].concat());
        command.env("TURNPIKE_RELAY__SHARDS", "3");
        ok(command)
    };
    let set = show(&[]);
    let line = |shown: &str, start: &str| {
        let found = shown
            .lines()
            .find(|line| line.starts_with(start))
            .unwrap_or_else(|| panic!("no {start} in {shown}"));
        found.to_owned()
    };
    assert!(line(&set, "shards = 3 ").ends_with("# TURNPIKE_RELAY__SHARDS"), "the environment wins: {set}");
    let place = format!("# {}:17", site.config().display());
    assert!(line(&set, "max_allocations = 40 ").ends_with(&place), "{set}");
    assert!(
        !set.contains("min_peer_port")
            && !set.contains("a long password")
            && set.contains("password = \"***\""),
        "{set}"
    );

    let all = show(&["--effective"]);
    assert!(line(&all, "min_peer_port = 1024 ").ends_with("# default"), "{all}");
    assert!(line(&all, "name = \"node-1\"").contains("turnpike.toml:2"), "{all}");
    assert!(line(&all, "public_ipv6 = \"auto\"").contains("# default: "), "what auto has found: {all}");
    let json: serde_json::Value = serde_json::from_str(&show(&["--effective", "--json"])).unwrap();
    let keys = json.as_array().unwrap();
    assert!(keys.iter().any(|key| key["key"] == "budget.warn_at" && key["origin"] == "default"));

    // What is printed is a configuration again.
    let copy = site.folder.path().join("copy.toml");
    fs::write(&copy, &all).unwrap();
    ok(turnpike(&["config", "show", "--config", copy.to_str().unwrap()]));
}

#[test]
fn explain_tells_what_a_key_is_for_and_what_it_is_here() {
    let site = Site::new(Ipv4Addr::LOCALHOST, "max_allocations = 40");
    let said = ok(site.command(&["config", "explain", "max_allocations"]));
    assert!(said.starts_with("relay.max_allocations\n  Most live allocations of this node."), "{said}");
    assert!(said.contains("Default     0\n") && said.contains("Here        40, by "), "{said}");
    assert!(said.contains("Variable    TURNPIKE_RELAY__MAX_ALLOCATIONS\n"), "{said}");
    let unset = ok(site.command(&["config", "explain", "relay.shards"]));
    assert!(unset.contains("Here        2, by "), "{unset}");
    let misspelt = site.command(&["config", "explain", "relay.shard"]).output().unwrap();
    assert_eq!(misspelt.status.code(), Some(2));
    assert!(text(&misspelt).contains("did you mean `relay.shards`?"), "{}", text(&misspelt));
}

#[test]
fn a_reload_by_command_says_what_was_taken_and_what_waits() {
    let node = reload::node("run");
    let config = fs::read_to_string(node.site.config()).unwrap();
    fs::write(node.site.config(), config.replace("shards = 2", "shards = 1") + "level = \"debug\"\n")
        .unwrap();
    let said = ok(node.site.command(&["reload"]));
    assert!(said.starts_with("Reloaded by relay and signaling: one secret, "), "{said}");
    assert!(said.contains("Taken       log.level\n"), "{said}");
    assert!(said.contains("Waiting     relay.shards: taken at the next start only\n"), "{said}");
    let status = ok(node.site.command(&["status"]));
    assert!(status.contains("Restart     relay.shards has changed: taken at the next start\n"), "{status}");

    fs::write(node.site.config(), config.replace("shards = 2", "shard = 1")).unwrap();
    // The command itself finds its way by the environment: the file that it would read is the broken one.
    let socket = node.site.folder.path().join("relay.sock");
    let good = node.site.folder.path().join("good.toml");
    fs::write(&good, config).unwrap();
    let mut refused = turnpike(&["reload", "--config", good.to_str().unwrap()]);
    let refused = refused.env("TURNPIKE_RELAY__ADMIN_SOCKET", socket).output().unwrap();
    assert_eq!(refused.status.code(), Some(1));
    assert!(
        text(&refused).contains("unknown key `shard`") && text(&refused).contains("Nothing was taken"),
        "{refused:?}"
    );
    drop(node);
    let away = Site::new(Ipv4Addr::LOCALHOST, "").command(&["reload"]).output().unwrap();
    assert_eq!(away.status.code(), Some(3));
}

#[test]
fn the_sample_of_coturn_and_one_in_use_become_configurations() {
    let folder = tempfile::tempdir().unwrap();
    let used = folder.path().join("turnserver.conf");
    let secret = "north-wind-and-the-sun-were-disputing";
    fs::write(
        &used,
        format!("listening-port=3479\nuse-auth-secret\nstatic-auth-secret={secret}\nexternal-ip=198.18.0.1/10.0.0.5\nmobility\n"),
    )
    .unwrap();
    for (file, part) in [
        ("/etc/turnserver.conf", "# From /etc/turnserver.conf."),
        (used.to_str().unwrap(), "line 5, mobility"),
    ] {
        let toml = ok(turnpike(&["import-coturn", file]));
        assert!(toml.contains(part) && !toml.contains(secret), "{toml}");
        let config = folder.path().join("turnpike.toml");
        fs::write(&config, format!("{toml}\n")).unwrap();
        let mut show = turnpike(&["config", "show", "--config", config.to_str().unwrap()]);
        show.env("TURNPIKE_NODE__ALLOW_PRIVATE_ADDRESS", "true");
        ok(show);
    }
    let missing = turnpike(&["import-coturn", "/nowhere"]).output().unwrap();
    assert_eq!(missing.status.code(), Some(1));
}

#[test]
fn a_support_bundle_has_everything_but_secrets() {
    let site = Site::new(Ipv4Addr::LOCALHOST, "allow_peers = [\"127.0.0.1/32\"]");
    append(&site, PASSWORDS);
    let config = fs::read_to_string(site.config()).unwrap();
    fs::write(site.config(), config.replace("[auth]\n", "[auth]\napi_keys_file = \"keys\"\n")).unwrap();
    fs::write(site.folder.path().join("keys"), "the-key-of-an-embedder").unwrap();
    let node = site.start("run");
    let mut allocation = node.allocate("carol");
    allocation.refresh(None).unwrap();
    let path = node.site.folder.path().join("bundle.txt");
    let said = ok(node.site.command(&["support-bundle", path.to_str().unwrap()]));
    assert!(said.contains("read it before you give it away"), "{said}");
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let bundle = fs::read_to_string(&path).unwrap();
    for part in [
        "==== system ====\nLinux ",
        "==== configuration ====\n[node]\n",
        "\n==== relay status ====\n{",
        "turnpike_allocations",
        "==== doctor ====\nok ",
    ] {
        assert!(bundle.contains(part), "{part}: {bundle}");
    }
    for secret in [SECRET, "a long password", "the-key-of-an-embedder", "carol"] {
        assert!(!bundle.contains(secret), "{secret} is in {bundle}");
    }
    let again = node.site.command(&["support-bundle", path.to_str().unwrap()]).output().unwrap();
    assert_eq!(again.status.code(), Some(1), "nothing is overwritten");
    let shown = ok(node.site.command(&["support-bundle", "-"]));
    assert!(shown.contains("==== turnpike ===="), "{shown}");
}

#[test]
fn dashboards_and_rules_are_exported_as_they_are() {
    let folder = tempfile::tempdir().unwrap();
    let said = ok(turnpike(&["grafana", "export", folder.path().to_str().unwrap()]));
    assert!(said.contains("README.md tells where each belongs"), "{said}");
    let source = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("grafana");
    for file in [
        "dashboards/overview.json",
        "prometheus/turnpike.rules.yml",
        "provisioning/datasources/turnpike.yaml",
    ] {
        assert_eq!(
            fs::read(folder.path().join(file)).unwrap(),
            fs::read(source.join(file)).unwrap(),
            "{file}"
        );
    }
}

/// A folder as certbot has one for each name.
fn lineage(names: &[&str]) -> (tempfile::TempDir, String) {
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::new();
    authority.sign(folder.path(), names);
    fs::rename(folder.path().join("cert.pem"), folder.path().join("fullchain.pem")).unwrap();
    fs::rename(folder.path().join("key.pem"), folder.path().join("privkey.pem")).unwrap();
    (folder, authority.pem())
}

#[test]
fn certbots_hook_puts_a_renewed_certificate_in_place_and_the_relay_takes_it() {
    let site =
        Site::new(Ipv4Addr::LOCALHOST, "allow_peers = [\"127.0.0.1/32\"]\ndrain_timeout = \"0s\"").with_tls();
    let node: Node = site.start("run");
    let _before = connect(&node.site, &["stun.turn"]);
    let key = node.site.folder.path().join("key.pem");
    std::os::unix::fs::chown(&key, None, Some(4711)).unwrap();

    let (wrong, _) = lineage(&["other.example.org"]);
    let refused =
        node.site.command(&["cert", "install", "--from", wrong.path().to_str().unwrap()]).output().unwrap();
    assert_eq!(refused.status.code(), Some(1));
    assert!(text(&refused).contains("is for other.example.org"), "{}", text(&refused));

    let (renewed, authority) = lineage(&[DOMAIN]);
    let hook = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("packaging/certbot-deploy-hook");
    let programs = tempfile::tempdir().unwrap();
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_turnpike"), programs.path().join("turnpike")).unwrap();
    let mut command = Command::new(hook);
    command.env("RENEWED_LINEAGE", renewed.path()).env("TURNPIKE_CONFIG", node.site.config());
    command.env("PATH", format!("{}:/usr/bin:/bin", programs.path().display()));
    assert!(ok(command).contains("a running relay takes it within seconds"));
    let file = fs::metadata(&key).unwrap();
    assert_eq!((file.mode() & 0o777, file.gid()), (0o640, 4711), "for the group of before");
    node.log.wait_for_start("new TLS certificate taken: ");
    fs::write(node.site.authority_file(), authority).unwrap();
    connect(&node.site, &["stun.turn"]);

    let off = Site::new(Ipv4Addr::LOCALHOST, "").command(&["cert", "status"]).output().unwrap();
    assert!(text(&off).contains("TLS is off"), "{}", text(&off));
}
