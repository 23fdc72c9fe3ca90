//! A relay on ports that the kernel chooses, with a state folder of its own.

use std::{
    net::{Ipv4Addr, SocketAddr},
    path::Path,
    time::Duration,
};

use tempfile::TempDir;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use turnpike_config::{
    Auth, Config, Ice, IcePolicy, Learned, Log, LogFormat, Metrics, Mint, Node, PublicAddress, Relay, Secret,
    Signaling, StaticUser,
};
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

/// A configuration for loopback: one shard, peers on 127.0.0.1 allowed.
pub(crate) fn config(folder: &Path) -> Config {
    let any_port = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let seconds = Duration::from_secs;
    Config {
        node: Node {
            name: "test".to_owned(),
            domain: None,
            public_ipv4: PublicAddress { address: Ipv4Addr::LOCALHOST, learned: Learned::Loopback },
            state_dir: folder.join("state"),
        },
        auth: Auth {
            secrets: vec![Secret::new(SECRET)],
            realm: REALM.to_owned(),
            credential_ttl: seconds(600),
            api_keys: Vec::new(),
            static_users: vec![StaticUser { username: "static".to_owned(), password: Secret::new("word") }],
        },
        relay: Relay {
            listen_udp: vec![any_port],
            relay_ipv4: Ipv4Addr::LOCALHOST,
            advertised_ipv4: Ipv4Addr::LOCALHOST,
            port_range: (20_000, 32_000),
            shards: 1,
            max_allocations: 10_000,
            max_allocations_per_subject: 0,
            max_permissions_per_allocation: 128,
            max_channels_per_allocation: 128,
            default_lifetime: seconds(600),
            max_lifetime: seconds(600),
            strict_permissions: false,
            rfc5766_channel_numbers: false,
            allow_peers: vec!["127.0.0.1/32".parse().unwrap()],
            deny_peers: Vec::new(),
            min_peer_port: 1024,
            software_attribute: false,
            drain_timeout: seconds(60),
            admin_socket: folder.join("relay.sock"),
        },
        signaling: Signaling {
            listen: Vec::new(),
            path: String::new(),
            polling: false,
            trusted_proxies: Vec::new(),
            origins: Vec::new(),
            max_sockets: 0,
            max_sockets_per_ip: 0,
            widen_after: seconds(0),
            accept_within: seconds(0),
            rematch_after: seconds(0),
        },
        ice: Ice { stun_urls: Vec::new(), turn_urls: Vec::new(), own_relay: true, policy: IcePolicy::All },
        mint: Mint { anonymous: false, per_ip_per_minute: 0, per_ip_per_hour: 0 },
        metrics: Metrics { relay_listen: Some(any_port), signaling_listen: None },
        log: Log { level: String::new(), format: LogFormat::Json },
    }
}

/// A loopback address that no other process binds relay ports on.
pub(crate) fn own_loopback_address() -> Ipv4Addr {
    let [.., high, low] = std::process::id().to_be_bytes();
    Ipv4Addr::new(127, 10, high, low)
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
    _folder: TempDir,
}

impl Server {
    /// Starts a relay on the configuration that `change` makes of the usual one.
    pub(crate) fn start(change: impl FnOnce(&mut Config)) -> Self {
        crate::log::capture();
        let folder = tempfile::tempdir().unwrap();
        let mut config = config(folder.path());
        change(&mut config);
        let relay = turnpike_relay::Relay::bind(&config).unwrap();
        let listening = relay.listening().clone();
        let (drain, stop) = (CancellationToken::new(), CancellationToken::new());
        let served = tokio::spawn(relay.serve(drain.clone(), stop.clone()));
        Self { listening, drain, stop, served, _folder: folder }
    }

    /// Where clients send to.
    pub(crate) fn address(&self) -> SocketAddr {
        self.listening.udp[0]
    }

    pub(crate) fn drain(&self) {
        self.drain.cancel();
    }

    /// Ends it at once.
    pub(crate) async fn stop(self) -> Summary {
        self.stop.cancel();
        self.ended().await
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

    /// A page of the metrics listener.
    pub(crate) async fn page(&self, path: &str) -> http::Answer {
        http::get_tcp(self.listening.metrics.unwrap(), path).await
    }
}
