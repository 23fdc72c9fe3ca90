//! The units, by systemd's own judgement.

use std::{fs, path::Path, process::Command};

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
