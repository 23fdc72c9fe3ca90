//! The relay of this workspace, from a configuration file on.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::SocketAddr,
    os::unix::net::UnixStream,
    thread,
};

use tempfile::TempDir;
use tokio_util::sync::CancellationToken;
use turnpike_config::{Host, MissingSecret, Request};
use turnpike_conformance::Target;
use turnpike_relay::{Listening, Relay};
use turnpike_relay_api::admin::DRAIN;

use crate::{
    coturn::{DENIED, REALM, SECRET, target},
    ports,
};

/// A relay that serves.
pub(crate) struct Turnpike {
    stop: CancellationToken,
    served: Option<thread::JoinHandle<()>>,
    listening: Listening,
    folder: TempDir,
}

impl Turnpike {
    /// Starts it with these lines in its [relay] section beside the ones that every test needs.
    pub(crate) fn start(relay: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("turnpike.toml");
        fs::write(folder.path().join("secret"), SECRET).unwrap();
        let own = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        fs::write(folder.path().join("cert.pem"), own.cert.pem()).unwrap();
        fs::write(folder.path().join("key.pem"), own.signing_key.serialize_pem()).unwrap();
        fs::write(&file, configuration(relay)).unwrap();
        let request =
            Request { file: Some(file), this_machine: false, missing_secret: MissingSecret::Refuse };
        let config =
            turnpike_config::load(&request, &Host::detect()).unwrap_or_else(|error| panic!("{error}")).config;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let relay = {
            let _inside = runtime.enter();
            Relay::bind(&config).unwrap_or_else(|error| panic!("{error}"))
        };
        let listening = relay.listening().clone();
        let stop = CancellationToken::new();
        let stopped = stop.clone();
        let served = thread::spawn(move || {
            runtime.block_on(relay.serve(CancellationToken::new(), stopped));
        });
        Self { stop, served: Some(served), listening, folder }
    }

    /// Lets it drain, as an operator does over its admin socket.
    pub(crate) fn drain(&self) {
        let mut admin = UnixStream::connect(self.folder.path().join("relay.sock")).unwrap();
        write!(admin, "POST {DRAIN} HTTP/1.1\r\nHost: relay\r\nConnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        admin.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    }

    /// Its UDP listener on IPv6.
    pub(crate) fn ipv6(&self) -> SocketAddr {
        let ipv6 = self.listening.udp.iter().find(|listener| listener.is_ipv6());
        *ipv6.expect("a listener of each family")
    }

    /// The target for a run over `udp`, `tcp` or `tls`.
    pub(crate) fn target(&self, transport: &str, arguments: &[&str]) -> Target {
        let listeners = match transport {
            "udp" => &self.listening.udp,
            "tcp" => &self.listening.tcp,
            _ => &self.listening.tls,
        };
        target(&listeners[0].to_string(), &[&["--transport", transport][..], arguments].concat())
    }
}

impl Drop for Turnpike {
    fn drop(&mut self) {
        self.stop.cancel();
        if let Some(served) = self.served.take() {
            let _ = served.join();
        }
    }
}

fn configuration(relay: &str) -> String {
    let (port, secure) = (ports::free(), ports::free());
    format!(
        r#"
[node]
public_ipv4 = "127.0.0.1"
public_ipv6 = "::1"
allow_private_address = true
state_dir = "state"

[auth]
secret_file = "secret"
realm = "{REALM}"

[relay]
listen_udp = ["127.0.0.1:{port}", "[::1]:{port}"]
listen_tcp = ["127.0.0.1:{port}"]
allow_peers = ["127.0.0.0/8", "::1"]
deny_peers = ["{DENIED}/32"]
max_lifetime = "1h"
strict_permissions = true
admin_socket = "relay.sock"
{relay}

[tls]
mode = "files"
listen = ["127.0.0.1:{secure}"]
cert_file = "cert.pem"
key_file = "key.pem"

[signaling]
internal_socket = "signaling.sock"

[metrics]
relay_listen = ""
"#
    )
}
