//! The package on a Debian machine: installed, served, upgraded amid a call, taken away.

use std::{
    path::{Path, PathBuf},
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use turnpike_turn_client::Allocation;

use crate::machine::{Machine, source};

/// A package of this binary under a version.
pub(crate) fn package(folder: &Path, version: &str) -> PathBuf {
    let output = Command::new(source("packaging/deb"))
        .args([env!("CARGO_BIN_EXE_turnpike"), version])
        .arg(folder)
        .env("DEB_COMPRESS", "-Zgzip -z1")
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim().into()
}

/// Those that live while a secret is changed.
const SESSIONS: usize = 1_000;

/// Two who talk through the relay until they are told to stop.
struct Call {
    stop: Arc<AtomicBool>,
    talk: thread::JoinHandle<(u64, u64, Duration)>,
}

impl Call {
    fn start(machine: &Machine, secret: &str) -> Self {
        let [mut caller, mut callee] = ["caller", "callee"].map(|subject| machine.allocate(secret, subject));
        let (here, there) = (caller.relayed(), callee.relayed());
        caller.permit(&[there.ip()]).unwrap();
        callee.permit(&[here.ip()]).unwrap();
        let stop = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&stop);
        let talk = thread::spawn(move || {
            let (mut sent, mut heard, mut longest) = (0_u64, 0, Duration::ZERO);
            let mut last = Instant::now();
            while !told.load(Ordering::Relaxed) {
                caller.send(there, &sent.to_be_bytes()).unwrap();
                sent += 1;
                if callee.receive(Duration::from_millis(500)).unwrap().is_some() {
                    heard += 1;
                    longest = longest.max(last.elapsed());
                    last = Instant::now();
                }
                // Fifty packets a second, as sound has.
                thread::sleep(Duration::from_millis(20));
            }
            // Whoever hangs up is not waited for when the relay drains.
            caller.close().unwrap();
            callee.close().unwrap();
            (sent, heard, longest)
        });
        Self { stop, talk }
    }

    /// What was lost, and the longest silence.
    fn end(self) -> (u64, Duration) {
        self.stop.store(true, Ordering::Relaxed);
        let (sent, heard, longest) = self.talk.join().unwrap();
        assert!(sent > 0);
        (sent - heard, longest)
    }
}

#[test]
fn a_package_is_installed_serves_is_upgraded_amid_a_call_and_leaves_nothing() {
    let packages = tempfile::tempdir().unwrap();
    let first = package(packages.path(), "0.1.0-1");
    let second = package(packages.path(), "0.1.1-1");
    let machine = Machine::start();
    let (first, second) = (machine.bring(&first), machine.bring(&second));
    let before = machine.files();

    let installed = machine.ok(&["dpkg", "--install", &first]);
    assert!(installed.contains("198.18.0.1 (found on interface eth0)"), "init has looked: {installed}");
    let asked = machine.asked();
    assert!(
        asked.contains("start turnpike-relay.service turnpike-signaling.service turnpike.target"),
        "{asked}"
    );
    let enabled = machine.ok(&[
        "ls",
        "/etc/systemd/system/turnpike.target.wants",
        "/etc/systemd/system/multi-user.target.wants",
    ]);
    assert!(enabled.contains("turnpike-relay.service") && enabled.contains("turnpike.target"), "{enabled}");
    assert_eq!(
        machine.ok(&[
            "stat",
            "--format=%a %U:%G",
            "/etc/turnpike/turnpike.toml",
            "/etc/turnpike/secret",
            "/var/lib/turnpike"
        ]),
        "640 root:turnpike\n640 root:turnpike\n750 turnpike:turnpike\n"
    );
    machine.ok(&["turnpike", "config", "check"]);

    let mut relay = machine.serve("turnpike-relay.service");
    let signaling = machine.serve("turnpike-signaling.service");
    let doctor = machine.ok(&["turnpike", "doctor"]);
    assert!(doctor.contains("ok    turn"), "{doctor}");
    let probe = machine.ok(&[
        "turnpike",
        "probe",
        "turn:198.18.0.1:3478?transport=udp",
        "--secret-file",
        "/etc/turnpike/secret",
        "--seconds",
        "1",
    ]);
    assert!(!probe.contains("FAIL"), "{probe}");
    let call = Call::start(&machine, &machine.secrets()[0]);

    let upgraded = machine.ok(&["dpkg", "--install", &second]);
    assert!(upgraded.contains("systemctl restart turnpike-relay"), "it says how: {upgraded}");
    assert!(upgraded.contains("stays as it is"), "init leaves the configuration alone: {upgraded}");
    let asked = machine.asked();
    assert!(asked.contains("try-restart turnpike-signaling.service"), "{asked}");
    let touches = |line: &&str| line.contains("turnpike-relay") && !line.contains("is-");
    assert_eq!(asked.lines().find(touches), None, "{asked}");
    drop(signaling);
    let signaling = machine.serve("turnpike-signaling.service");
    assert!(relay.is_alive());

    let secret = machine.secrets()[0].clone();
    let mut live: Vec<Allocation> =
        (0..SESSIONS).map(|n| machine.allocate(&secret, &format!("s{n}"))).collect();
    machine.ok(&["turnpike", "secret", "rotate"]);
    relay.reload();
    signaling.reload();
    live.iter_mut().for_each(|allocation| allocation.refresh(None).unwrap());
    let secrets = machine.secrets();
    assert_eq!((secrets.len(), &secrets[1]), (2, &secret));
    machine.allocate(&secrets[0], "new").close().unwrap();
    live.into_iter().for_each(|allocation| allocation.close().unwrap());
    let reloaded = machine.ok(&["turnpike", "reload"]);
    assert!(reloaded.contains("Reloaded by relay: 2 secrets"), "{reloaded}");

    let (lost, longest) = call.end();
    assert!(lost <= 2 && longest < Duration::from_secs(1), "{lost} lost, {longest:?} of silence");

    let purged = machine.ok(&["dpkg", "--purge", "turnpike"]);
    assert!(
        machine.asked().contains("stop turnpike.target turnpike-signaling.service turnpike-relay.service"),
        "{purged}"
    );
    assert!(!relay.is_alive(), "it was stopped");
    let drained = |lines: &[serde_json::Value]| {
        lines.iter().any(|line| line.to_string().contains("draining")).then_some(())
    };
    relay.log.wait_until(drained);
    drop((relay, signaling));
    let users = machine.ok(&["sh", "-c", "cat /etc/passwd /etc/group"]);
    assert!(!users.contains("turnpike"), "{users}");
    // What dpkg, and whoever has users, keep of before.
    let kept = |path: &&String| !path.ends_with("-old") && !path.ends_with('-') && !path.starts_with("/run/");
    let left: Vec<String> = machine.files().difference(&before).filter(kept).cloned().collect();
    assert!(left.is_empty(), "{left:#?}");
}

#[test]
fn the_package_is_without_fault_and_holds_what_an_installation_has() {
    let packages = tempfile::tempdir().unwrap();
    let package = package(packages.path(), "0.1.0-1");
    let checked =
        Command::new("lintian").args(["--allow-root", "--fail-on", "error"]).arg(&package).output().unwrap();
    let said = String::from_utf8_lossy(&[&checked.stdout[..], &checked.stderr[..]].concat()).into_owned();
    assert!(checked.status.success(), "{said}");

    let listed = Command::new("dpkg-deb").arg("--contents").arg(&package).output().unwrap();
    let listed = String::from_utf8_lossy(&listed.stdout).into_owned();
    for file in [
        "/usr/bin/turnpike",
        "/usr/lib/systemd/system/turnpike-relay.service",
        "/usr/lib/systemd/system/turnpike-signaling.service",
        "/usr/lib/systemd/system/turnpike.target",
        "/usr/lib/sysusers.d/turnpike.conf",
        "/usr/lib/tmpfiles.d/turnpike.conf",
        "/usr/lib/sysctl.d/60-turnpike.conf",
        "/etc/ufw/applications.d/turnpike",
        "/usr/share/man/man1/turnpike-init.1.gz",
        "/usr/share/bash-completion/completions/turnpike",
        "/usr/share/turnpike/grafana/dashboards/overview.json",
        "/usr/share/turnpike/grafana/prometheus/turnpike.rules.yml",
        "/usr/share/turnpike/certbot-deploy-hook",
        "/usr/share/doc/turnpike/turnpike.toml",
        "/usr/share/doc/turnpike/examples/turnpike.nft",
    ] {
        assert!(listed.lines().any(|line| line.ends_with(&format!(".{file}"))), "{file} is not in {listed}");
    }
}
