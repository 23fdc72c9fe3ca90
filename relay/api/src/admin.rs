//! The admin API of the relay: HTTP/JSON under `/v1`. Unknown fields are ignored, for one side is often older.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use crate::{cost::Spent, target::Target};

/// `GET`: [`Status`].
pub const STATUS: &str = "/v1/status";
/// `GET`: [`Sessions`].
pub const SESSIONS: &str = "/v1/sessions";
/// `POST` [`Target`]: [`Ended`]. Ends allocations; their credentials serve on.
pub const KILL: &str = "/v1/kill";
/// `POST` [`Revoke`]: [`Revoked`]. Ends allocations and refuses their credentials.
pub const REVOKE: &str = "/v1/revoke";
/// `POST` [`Target`]: [`Unrevoked`]. Takes a revocation back.
pub const UNREVOKE: &str = "/v1/unrevoke";
/// `GET`: [`Revocations`].
pub const REVOCATIONS: &str = "/v1/revocations";
/// `POST`: [`Status`]. New allocations are refused from now on.
pub const DRAIN: &str = "/v1/drain";
/// `POST`: [`Status`]. New allocations are made again.
pub const UNDRAIN: &str = "/v1/undrain";

/// `POST`: [`Reloaded`]. The configuration is read again, as at SIGHUP.
pub const RELOAD: &str = "/v1/reload";

/// What a reload did.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Reloaded {
    /// What is in order of the configuration is in force; false when nothing was taken.
    pub success: bool,
    /// The services of that process: `relay`, `signaling`.
    pub services: Vec<String>,
    /// Keys that have changed and are in force.
    pub taken: Vec<String>,
    /// Keys that have changed since the start and wait for a restart.
    pub waiting: Vec<String>,
    /// Secrets in force.
    pub secrets: usize,
    /// What is wrong with the configuration.
    pub problems: Vec<String>,
}

/// What the relay is doing.
#[derive(Debug, Default, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Status {
    /// Name of the node.
    pub node: String,
    /// Version of the relay.
    pub version: String,
    /// Seconds since the start.
    pub uptime_seconds: u64,
    /// New allocations are refused; live ones are served.
    pub draining: bool,
    /// The advertised relay address; empty where no IPv4 is relayed.
    pub advertised_ipv4: String,
    /// The advertised relay address of IPv6; empty where none is relayed.
    pub advertised_ipv6: String,
    /// Bound UDP listeners.
    pub listen_udp: Vec<SocketAddr>,
    /// Bound TCP listeners.
    pub listen_tcp: Vec<SocketAddr>,
    /// Bound TLS listeners.
    pub listen_tls: Vec<SocketAddr>,
    /// Worker threads.
    pub shards: usize,
    /// Live allocations.
    pub allocations: u64,
    /// Most live allocations.
    pub allocations_limit: u64,
    /// Allocations made since the start.
    pub allocations_created: u64,
    /// Totals since the start, live and ended.
    pub traffic: Traffic,
    /// How far the budget of the billing period is spent; absent where there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub budget: Option<Spent>,
    /// What would be another after a restart, one sentence each.
    pub waiting_for_restart: Vec<String>,
    /// The TLS certificate; absent where TLS is off.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub certificate: Option<CertificateStatus>,
}

/// The TLS certificate, and how it is renewed.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct CertificateStatus {
    /// When it expires, in Unix seconds; absent where there is none yet.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub not_after: Option<u64>,
    /// How it is got by ACME; absent where it is read from files.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub acme: Option<AcmeStatus>,
}

/// How a certificate is got by ACME.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct AcmeStatus {
    /// Failures since the last success.
    pub failures: u32,
    /// What the last one was.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_error: Option<String>,
    /// When it is tried next, in Unix seconds.
    pub next_attempt: u64,
}

/// The live allocations.
#[derive(Debug, Default, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Sessions {
    /// One entry an allocation.
    pub sessions: Vec<Session>,
}

/// One live allocation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Session {
    /// Random id of the allocation, 22 characters of base64url.
    pub id: String,
    /// The subject of its credential.
    pub subject: String,
    /// Transport of the client leg: `udp`, `tcp`, `tls`.
    pub transport: String,
    /// The client's address.
    pub client: SocketAddr,
    /// The advertised relayed address.
    pub relayed: SocketAddr,
    /// The IPv6 one of an allocation that has both.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub relayed_ipv6: Option<SocketAddr>,
    /// Seconds since the Allocate.
    pub age_seconds: u64,
    /// Seconds until it ends unless refreshed.
    pub expires_in_seconds: u64,
    /// Live permissions.
    pub permissions: usize,
    /// Bound channels.
    pub channels: usize,
    /// Its counters.
    pub traffic: Traffic,
}

/// Who loses his allocations and credentials.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Revoke {
    /// Whom it concerns. An allocation's credential is refused with it.
    #[serde(flatten)]
    pub target: Target,
    /// Until when, in Unix seconds. Without it: for an allocation until its credential expires, else for a day, the
    /// longest life of a credential that is minted here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<u64>,
}

/// What a revocation did.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Revoked {
    /// Allocations that were ended.
    pub ended: u64,
    /// Until when Allocate is refused, in Unix seconds.
    pub until: u64,
    /// It survives a restart. When false, the relay's log says why.
    pub saved: bool,
}

/// What ending allocations did.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Ended {
    /// How many there were.
    pub ended: u64,
}

/// What taking a revocation back did.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Unrevoked {
    /// There was one.
    pub removed: bool,
    /// It survives a restart. When false, the relay's log says why.
    pub saved: bool,
}

/// The revocations in force.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Revocations {
    /// The soonest to expire first.
    pub revocations: Vec<Revocation>,
}

/// One revocation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Revocation {
    /// Whom it concerns.
    #[serde(flatten)]
    pub target: Target,
    /// Until when, in Unix seconds.
    pub until: u64,
}

/// Both legs, both directions, at the IP layer: payload and headers of datagrams; of a client's TCP connection its bytes,
/// TLS records included, and the headers of its segments.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Traffic {
    /// Client to relay.
    pub client_in: Flow,
    /// Relay to client.
    pub client_out: Flow,
    /// Relay to peer.
    pub peer_out: Flow,
    /// Peer to relay.
    pub peer_in: Flow,
    /// What never left the machine, counted once, on the sender's allocation; part of `peer_out` as well.
    pub hairpin: Flow,
}

/// One direction of one leg.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Flow {
    /// IP-layer bytes.
    pub bytes: u64,
    /// Datagrams, or TCP segments.
    pub packets: u64,
}

impl Flow {
    /// Adds the counters of another.
    pub fn add(&mut self, other: &Self) {
        self.bytes += other.bytes;
        self.packets += other.packets;
    }
}

impl Traffic {
    /// Adds the counters of another.
    pub fn add(&mut self, other: &Self) {
        let pairs = [
            (&mut self.client_in, &other.client_in),
            (&mut self.client_out, &other.client_out),
            (&mut self.peer_out, &other.peer_out),
            (&mut self.peer_in, &other.peer_in),
            (&mut self.hairpin, &other.hairpin),
        ];
        for (mine, theirs) in pairs {
            mine.add(theirs);
        }
    }
}
