//! Debian's coturn as a child process.

use std::{
    fs,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use clap::Parser;
use tempfile::TempDir;
use turnpike_conformance::{Target, reachable};

use crate::ports;

pub(crate) const SECRET: &str = "a-secret-of-the-conformance-tests";
pub(crate) const REALM: &str = "conformance.test";
/// An address that every server here refuses as a peer.
pub(crate) const DENIED: &str = "127.0.0.66";

#[derive(Parser)]
struct Arguments {
    #[command(flatten)]
    target: Target,
}

/// A target as the command line gives it.
pub(crate) fn target(server: &str, arguments: &[&str]) -> Target {
    let fixed = ["conformance", "--server", server, "--secret", SECRET];
    Arguments::try_parse_from(fixed.iter().chain(arguments)).unwrap_or_else(|error| panic!("{error}")).target
}

/// A coturn that answers.
pub(crate) struct Coturn {
    process: Child,
    pub(crate) port: u16,
    pub(crate) tls_port: u16,
    _folder: TempDir,
}

impl Coturn {
    /// What coturn calls itself; `None` when it is not installed.
    pub(crate) fn version() -> String {
        let output = Command::new("turnserver").arg("--version").output();
        let output = output.expect("coturn is installed: apt-get install coturn");
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }

    /// Starts it with these arguments beside the ones that every test needs.
    pub(crate) fn start(arguments: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name).display().to_string();
        let certificate = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        fs::write(path("cert.pem"), certificate.cert.pem()).unwrap();
        fs::write(path("key.pem"), certificate.signing_key.serialize_pem()).unwrap();
        let (port, tls_port) = (ports::free(), ports::free());
        let process = Command::new("turnserver")
            .args([
                "-n",
                "--no-cli",
                "--cli-password",
                "x",
                "--log-file",
                "stdout",
                "--simple-log",
                "--no-dtls",
            ])
            .args(["--listening-ip", "127.0.0.1", "--listening-ip", "::1", "--relay-ip", "127.0.0.1"])
            .args(["--relay-ip", "::1", "--listening-port", &port.to_string()])
            .args(["--tls-listening-port", &tls_port.to_string()])
            .args(["--cert", &path("cert.pem"), "--pkey", &path("key.pem"), "--pidfile", &path("pid")])
            .args(["--userdb", &path("turndb"), "--realm", REALM])
            .args(["--use-auth-secret", "--static-auth-secret", SECRET, "--allow-loopback-peers"])
            .args(["--denied-peer-ip", DENIED])
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("coturn is installed: apt-get install coturn");
        let mut coturn = Self { process, port, tls_port, _folder: folder };
        coturn.wait_until_it_answers();
        coturn
    }

    /// The target for a run over UDP.
    pub(crate) fn target(&self, arguments: &[&str]) -> Target {
        target(&format!("127.0.0.1:{}", self.port), arguments)
    }

    fn wait_until_it_answers(&mut self) {
        let target = self.target(&[]);
        let deadline = Instant::now() + Duration::from_secs(60);
        while let Err(why) = reachable(&target) {
            assert!(self.process.try_wait().unwrap().is_none(), "coturn has ended: {why}");
            assert!(Instant::now() < deadline, "{why}");
        }
    }
}

impl Drop for Coturn {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
