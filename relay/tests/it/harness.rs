//! A relay on ports that the kernel chooses, with a state folder of its own.

use std::{
    fs,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::Path,
    time::Duration,
};

use tempfile::TempDir;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use turnpike_config::{Config, Host, MissingSecret, RelayAddress, Request, Tls};
use turnpike_relay::{Listening, Summary};
use turnpike_relay_api::{
    admin::{SESSIONS, STATUS, Session, Sessions, Status},
    credential::{self, Credential, Limits},
};

use crate::http;

pub(crate) const SECRET: &[u8] = b"a secret of the relay's own tests, long enough";
pub(crate) const REALM: &str = "turnpike.test";
/// Longer than anything takes that does not hang.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

const FILE: &str = r#"
[node]
name = "test"
public_ipv4 = "127.0.0.1"
allow_private_address = true
state_dir = "state"
[auth]
secret_file = "secret"
realm = "turnpike.test"
[[auth.static_user]]
username = "static"
password = "word"
[relay]
listen_udp = ["127.0.0.1:3478"]
listen_tcp = ["127.0.0.1:3478"]
relay_ipv4 = "127.0.0.1"
port_range = [20000, 32000]
shards = 1
max_allocations = 10000
max_allocations_per_subject = 0
allow_peers = ["127.0.0.1/32"]
admin_socket = "relay.sock"
"#;

/// A configuration for loopback: one shard, peers on 127.0.0.1 allowed, ports that the kernel chooses.
pub(crate) fn config(folder: &Path) -> Config {
    let file = folder.join("turnpike.toml");
    fs::write(&file, FILE).unwrap();
    fs::write(folder.join("secret"), SECRET).unwrap();
    let request = Request { file: Some(file), this_machine: false, missing_secret: MissingSecret::Refuse };
    let mut config = turnpike_config::load(&request, &Host { cores: 1, ..Host::default() }).unwrap().config;
    let any_port = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    config.relay.listen_udp = vec![any_port];
    config.relay.listen_tcp = vec![any_port];
    config.metrics.relay_listen = Some(any_port);
    // Tests count what they do.
    config.metrics.selftest = None;
    config
}

/// Serves TLS as well, with a certificate that its own key has signed.
pub(crate) fn with_tls(config: &mut Config) {
    let folder = config.node.state_dir.parent().unwrap();
    let (cert_file, key_file) = (folder.join("cert.pem"), folder.join("key.pem"));
    let own = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    fs::write(&cert_file, own.cert.pem()).unwrap();
    fs::write(&key_file, own.signing_key.serialize_pem()).unwrap();
    let listen = vec![SocketAddr::from((Ipv4Addr::LOCALHOST, 0))];
    config.tls = Some(Tls { listen, cert_file, key_file, acme: None });
    config.signaling.internal_socket = Some(config.node.state_dir.join("signaling.sock"));
}

/// A loopback address that no other process binds relay ports on.
pub(crate) fn own_loopback_address() -> Ipv4Addr {
    let [.., high, low] = std::process::id().to_be_bytes();
    Ipv4Addr::new(127, 10, high, low)
}

/// Where relayed addresses are.
pub(crate) fn relay_address(bound: impl Into<IpAddr>, advertised: impl Into<IpAddr>) -> Option<RelayAddress> {
    Some(RelayAddress { bound: bound.into(), advertised: advertised.into() })
}

/// A credential that is good for an hour.
pub(crate) fn credential(subject: &str, limits: &Limits) -> Credential {
    let now = std::time::UNIX_EPOCH.elapsed().unwrap().as_secs();
    credential::mint(SECRET, now + 3_600, subject, limits).unwrap()
}

/// A relay that serves.
pub(crate) struct Server {
    pub(crate) listening: Listening,
    drain: CancellationToken,
    stop: CancellationToken,
    served: JoinHandle<Summary>,
    folder: TempDir,
}

impl Server {
    /// Starts a relay on the configuration that `change` makes of the usual one.
    pub(crate) fn start(change: impl FnOnce(&mut Config)) -> Self {
        Self::start_in(tempfile::tempdir().unwrap(), change)
    }

    /// Starts it in the folder of one that ran before.
    pub(crate) fn start_in(folder: TempDir, change: impl FnOnce(&mut Config)) -> Self {
        crate::log::capture();
        let mut config = config(folder.path());
        change(&mut config);
        let relay = turnpike_relay::Relay::bind(&config).unwrap();
        let listening = relay.listening().clone();
        let (drain, stop) = (CancellationToken::new(), CancellationToken::new());
        let served = tokio::spawn(relay.serve(drain.clone(), stop.clone()));
        Self { listening, drain, stop, served, folder }
    }

    /// Where clients send to.
    pub(crate) fn address(&self) -> SocketAddr {
        self.listening.udp[0]
    }

    /// Where clients connect to.
    pub(crate) fn tcp_address(&self) -> SocketAddr {
        self.listening.tcp[0]
    }

    /// Where clients of TLS connect to.
    pub(crate) fn tls_address(&self) -> SocketAddr {
        self.listening.tls[0]
    }

    pub(crate) fn drain(&self) {
        self.drain.cancel();
    }

    /// Ends it at once.
    pub(crate) async fn stop(self) -> Summary {
        self.stop.cancel();
        self.ended().await
    }

    /// Ends it at once and leaves its folder.
    pub(crate) async fn stop_leaving_folder(self) -> TempDir {
        self.stop.cancel();
        tokio::time::timeout(PATIENCE, self.served).await.expect("the relay hangs").unwrap();
        self.folder
    }

    /// Waits until it has ended.
    pub(crate) async fn ended(self) -> Summary {
        tokio::time::timeout(PATIENCE, self.served).await.expect("the relay hangs").unwrap()
    }

    pub(crate) async fn status(&self) -> Status {
        serde_json::from_str(&http::get_unix(&self.listening.admin_socket, STATUS).await.ok()).unwrap()
    }

    pub(crate) async fn sessions(&self) -> Vec<Session> {
        let text = http::get_unix(&self.listening.admin_socket, SESSIONS).await.ok();
        serde_json::from_str::<Sessions>(&text).unwrap().sessions
    }

    /// The live allocation of a relayed address.
    pub(crate) async fn session(&self, relayed: SocketAddr) -> Session {
        self.sessions().await.into_iter().find(|session| session.relayed == relayed).unwrap()
    }

    /// Asks the admin API for something and reads the answer of a 200.
    pub(crate) async fn post<T: serde::de::DeserializeOwned>(&self, path: &str, body: &str) -> T {
        let answer = http::post_unix(&self.listening.admin_socket, path, body).await.ok();
        serde_json::from_str(&answer).unwrap()
    }

    /// The status and the code of what the admin API refuses.
    pub(crate) async fn post_refused(&self, path: &str, body: &str) -> (u16, String) {
        let answer = http::post_unix(&self.listening.admin_socket, path, body).await;
        let problem: serde_json::Value = serde_json::from_str(&answer.body).unwrap();
        assert!(answer.head.contains("content-type: application/problem+json"), "{}", answer.head);
        (answer.status, problem["code"].as_str().unwrap().to_owned())
    }

    /// A page of the metrics listener.
    pub(crate) async fn page(&self, path: &str) -> http::Answer {
        http::get_tcp(self.listening.metrics.unwrap(), path).await
    }
}
