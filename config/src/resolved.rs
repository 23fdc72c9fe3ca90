//! What the services are given: every value present, checked, in one unit.

use std::{
    fmt,
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    time::Duration,
};

use ipnet::IpNet;
use zeroize::Zeroizing;

use crate::Detect;

/// The whole configuration of one node.
#[derive(Debug, Clone)]
pub struct Config {
    /// Who this node is.
    pub node: Node,
    /// Secrets and keys.
    pub auth: Auth,
    /// The STUN/TURN server.
    pub relay: Relay,
    /// TURN over TLS and HTTPS on the same port; absent where TLS is off.
    pub tls: Option<Tls>,
    /// The signaling server.
    pub signaling: Signaling,
    /// What clients are told about ICE.
    pub ice: Ice,
    /// Who may mint credentials.
    pub mint: Mint,
    /// What several nodes share; absent where this one is alone.
    pub redis: Option<Redis>,
    /// Where metrics are served.
    pub metrics: Metrics,
    /// What the ledger keeps, and for how long.
    pub usage: Usage,
    /// What traffic costs here.
    pub cost: Cost,
    /// What it may come to.
    pub budget: Budget,
    /// What is logged, and how.
    pub log: Log,
}

/// Who this node is and what it keeps.
#[derive(Debug, Clone)]
pub struct Node {
    /// Shown in logs, metrics and `hello`; the hostname by default.
    pub name: String,
    /// Public DNS name; without one, URLs carry the address.
    pub domain: Option<String>,
    /// The IPv4 address that clients and peers reach this node by.
    pub public_ipv4: Option<PublicAddress>,
    /// Its IPv6 address. There is one of the two at least.
    pub public_ipv6: Option<PublicAddress>,
    /// How the address is learned where it is not written down, the first that knows it.
    pub detect: Vec<Detect>,
    /// Where secrets made on first start and other state live.
    pub state_dir: PathBuf,
}

impl Node {
    /// The addresses that clients and peers reach it by, IPv4 first.
    pub fn public_addresses(&self) -> impl Iterator<Item = &PublicAddress> {
        self.public_ipv4.iter().chain(&self.public_ipv6)
    }
}

/// An advertised address and how it was learned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublicAddress {
    /// The address.
    pub address: IpAddr,
    /// Where it came from.
    pub learned: Learned,
}

impl PublicAddress {
    /// Whether strangers on the internet could reach it at all.
    pub fn is_private(&self) -> bool {
        match self.address {
            IpAddr::V4(a) => {
                let shared = a.octets()[0] == 100 && (64..128).contains(&a.octets()[1]);
                a.is_private() || a.is_loopback() || a.is_link_local() || a.is_unspecified() || shared
            }
            IpAddr::V6(a) => {
                a.is_unique_local() || a.is_loopback() || a.is_unicast_link_local() || a.is_unspecified()
            }
        }
    }
}

impl fmt::Display for PublicAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.address, self.learned)
    }
}

/// How the advertised address was learned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Learned {
    /// Written in the configuration.
    Configured,
    /// Read from this network interface.
    Interface(String),
    /// The metadata service of this cloud said so.
    Metadata(String),
    /// This STUN server said so.
    Stun(String),
    /// `run --dev`, or no interface has an address: this machine only.
    Loopback,
}

impl fmt::Display for Learned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Configured => f.write_str("as configured"),
            Self::Interface(name) => write!(f, "found on interface {name}"),
            Self::Metadata(cloud) => write!(f, "told by the metadata service of {cloud}"),
            Self::Stun(server) => write!(f, "seen by the STUN server {server}"),
            Self::Loopback => f.write_str("this machine only"),
        }
    }
}

/// Secrets and keys.
#[derive(Debug, Clone)]
pub struct Auth {
    /// TURN REST secrets: the first signs, all verify. Never empty.
    pub secrets: Vec<Secret>,
    /// The realm of the long-term credential mechanism.
    pub realm: String,
    /// Life of a minted credential.
    pub credential_ttl: Duration,
    /// An expired credential does not refresh an allocation either.
    pub strict_expiry: bool,
    /// Bearer keys of embedders for `POST /v1/ice` and `GET /turn`.
    pub api_keys: Vec<Secret>,
    /// Bearer keys of operators for signaling's admin endpoints.
    pub admin_keys: Vec<Secret>,
    /// Keys that embedders sign their visitors' tokens with, for `GET /v1/ice`.
    pub jwt_keys: Vec<Secret>,
    /// Users with a fixed password, for tests and old clients.
    pub static_users: Vec<StaticUser>,
}

/// A user with a fixed password.
#[derive(Debug, Clone)]
pub struct StaticUser {
    /// As sent in USERNAME.
    pub username: String,
    /// The password.
    pub password: Secret,
}

/// The STUN/TURN server.
#[derive(Debug, Clone)]
pub struct Relay {
    /// UDP listeners.
    pub listen_udp: Vec<SocketAddr>,
    /// TCP listeners, likewise; none when empty.
    pub listen_tcp: Vec<SocketAddr>,
    /// Where relayed addresses of IPv4 are; none are given when absent.
    pub relay_ipv4: Option<RelayAddress>,
    /// The same for IPv6.
    pub relay_ipv6: Option<RelayAddress>,
    /// First and last relay port, both included.
    pub port_range: (u16, u16),
    /// Worker threads, each with listeners and allocations of its own; at least 1.
    pub shards: usize,
    /// Most live allocations of this node; at least 1.
    pub max_allocations: usize,
    /// Most live allocations of one subject; 0 is no limit.
    pub max_allocations_per_subject: usize,
    /// Most live allocations of one client's IPv4 address or IPv6 /64; 0 is no limit.
    pub max_allocations_per_ip: usize,
    /// Most permissions of one allocation.
    pub max_permissions_per_allocation: usize,
    /// Most channels of one allocation.
    pub max_channels_per_allocation: usize,
    /// Most bits a second that one allocation relays: payloads both ways with the headers of the peers' side; 0 is no
    /// limit.
    pub max_bitrate_per_allocation: u64,
    /// The same of all allocations of one subject together.
    pub max_bitrate_per_subject: u64,
    /// The same of the whole node.
    pub max_bitrate_total: u64,
    /// Lifetime given when the client asks for none (RFC 8656 §7.2).
    pub default_lifetime: Duration,
    /// Longest lifetime given.
    pub max_lifetime: Duration,
    /// A bound channel does not keep its permission alive (the letter of RFC 8656 §9).
    pub strict_permissions: bool,
    /// Channel numbers 0x4000-0x7FFF as in RFC 5766.
    pub rfc5766_channel_numbers: bool,
    /// Peer networks opened on top of the built-in list.
    pub allow_peers: Vec<IpNet>,
    /// Peer networks closed on top of the built-in list.
    pub deny_peers: Vec<IpNet>,
    /// Lowest peer port data may be sent to.
    pub min_peer_port: u16,
    /// 400, 401 and 438 a second over UDP to one IPv4 address or IPv6 /64, twice as many at once; 0 is no limit.
    pub unauthenticated_per_second: u32,
    /// The same of Binding answers.
    pub binding_per_second: u32,
    /// Name and version in SOFTWARE attributes.
    pub software_attribute: bool,
    /// How long live allocations are served after the first SIGTERM; zero ends at once.
    pub drain_timeout: Duration,
    /// Where clients over UDP and TCP are sent while this node drains.
    pub drain_alternate: Option<SocketAddr>,
    /// Unix socket of the admin API.
    pub admin_socket: PathBuf,
}

/// TURN over TLS and HTTPS, which share listeners and certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tls {
    /// TCP listeners, each of one family: `[::]` in the file is here as `0.0.0.0` and `[::]`.
    pub listen: Vec<SocketAddr>,
    /// The certificate chain in PEM, the node's own certificate first.
    pub cert_file: PathBuf,
    /// The private key of that certificate in PEM.
    pub key_file: PathBuf,
    /// How the two are got and renewed; absent where somebody else does.
    pub acme: Option<Acme>,
}

/// A certificate that this node gets by itself (RFC 8555), by the challenge http-01.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Acme {
    /// The name that the certificate is for.
    pub domain: String,
    /// TCP listeners for the authority's question, each of one family; everything else there is sent on to HTTPS.
    pub http_listen: Vec<SocketAddr>,
    /// Whom the authority writes to.
    pub email: Option<String>,
    /// The URL of the authority's directory.
    pub directory: String,
    /// Where account, certificate and key are kept.
    pub folder: PathBuf,
    /// What binds the account to one that the authority knows (RFC 8555 §7.3.4).
    pub external_account: Option<ExternalAccount>,
}

/// An account that the authority has given out by other means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExternalAccount {
    /// The id of its key.
    pub key_id: String,
    /// The file that holds the key, in base64url.
    pub key_file: PathBuf,
}

impl Tls {
    /// The port that clients are told of: that of HTTPS where it is one, else the first.
    pub fn port(&self) -> u16 {
        let ports = || self.listen.iter().map(SocketAddr::port);
        ports().find(|port| *port == 443).or_else(|| ports().next()).unwrap_or(443)
    }
}

/// Where the relayed addresses of one family are, seen from inside and from outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RelayAddress {
    /// What relay sockets are bound on; the unspecified address binds on any.
    pub bound: IpAddr,
    /// What stands in XOR-RELAYED-ADDRESS.
    pub advertised: IpAddr,
}

/// The signaling server.
#[derive(Debug, Clone)]
pub struct Signaling {
    /// HTTP listeners. `[::]` listens on IPv4 as well.
    pub listen: Vec<SocketAddr>,
    /// Unix socket that the relay's TLS listener hands HTTP to; absent where TLS is off.
    pub internal_socket: Option<PathBuf>,
    /// Path of the Socket.IO endpoint.
    pub path: String,
    /// HTTP long-polling beside WebSocket.
    pub polling: bool,
    /// Proxies whose X-Forwarded-For is believed.
    pub trusted_proxies: Vec<IpNet>,
    /// Origins allowed beside the page's own.
    pub origins: Vec<String>,
    /// Most open sockets of this node.
    pub max_sockets: usize,
    /// Most open sockets of one IPv4 address or IPv6 /64.
    pub max_sockets_per_ip: usize,
    /// After this wait, interests no longer matter.
    pub widen_after: Duration,
    /// Both sides accept a match within this time.
    pub accept_within: Duration,
    /// A session lives this long without a socket.
    pub resume_for: Duration,
    /// A pair lives this long while a side of it has no socket.
    pub pair_grace: Duration,
    /// The same two are not matched again within this time.
    pub rematch_after: Duration,
    /// So many people report somebody, who is then banned; 0: nobody is banned without an operator.
    pub ban_after_reports: u32,
    /// How long such a ban lasts.
    pub ban_for: Duration,
}

/// What clients are told about ICE.
#[derive(Debug, Clone)]
pub struct Ice {
    /// STUN URLs, as in RFC 7064.
    pub stun_urls: Vec<String>,
    /// TURN URLs, as in RFC 7065.
    pub turn_urls: Vec<String>,
    /// The TURN URLs are those of this node's own relay, whose health decides whether they are given.
    pub own_relay: bool,
    /// Which candidates clients may use.
    pub policy: IcePolicy,
}

/// iceTransportPolicy of the W3C.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IcePolicy {
    /// Direct where possible.
    All,
    /// Only through the relay.
    Relay,
}

/// Who may mint credentials over REST.
#[derive(Debug, Clone)]
pub struct Mint {
    /// `GET /v1/ice` gives TURN credentials to anyone.
    pub anonymous: bool,
    /// Anonymous mints of one IPv4 address or IPv6 /64 in a minute.
    pub per_ip_per_minute: u32,
    /// The same in an hour.
    pub per_ip_per_hour: u32,
}

/// Where metrics are served.
#[derive(Debug, Clone)]
pub struct Metrics {
    /// The relay's `/metrics`, `/healthz` and `/readyz`; off when absent.
    pub relay_listen: Option<SocketAddr>,
    /// Signaling's; off when absent.
    pub signaling_listen: Option<SocketAddr>,
    /// How often the relay tries itself; never when absent.
    pub selftest: Option<Duration>,
    /// Leading parts of subjects that are counted apart, sorted.
    pub tenants: Vec<String>,
}

/// What the ledger keeps, and for how long.
#[derive(Debug, Clone)]
pub struct Usage {
    /// What a crash loses at most of the counters of live allocations.
    pub interim: Duration,
    /// How long the record of an ended allocation is kept. Sums by day are kept for ever.
    pub retention_days: u32,
    /// What is kept of a client's address.
    pub client_address: ClientPrivacy,
    /// What is kept of a subject.
    pub user: UserPrivacy,
}

/// What traffic costs here.
#[derive(Debug, Clone, PartialEq)]
pub struct Cost {
    /// Absent where none is set.
    pub price: Option<Price>,
    /// What is on a bill.
    pub count: Count,
    /// Whether the headers of IP and of the transport are on it as well.
    pub header_overhead: bool,
    /// The day of the month that a billing period begins on, or the last one of a shorter month.
    pub reset_day: u8,
    /// Others whose price the same traffic is held against.
    pub compare: Vec<Compare>,
}

/// What a provider asks for a billing period.
#[derive(Debug, Clone, PartialEq)]
pub struct Price {
    /// Whose price it is, and since when as far as is known; the operator's own where absent.
    pub source: Option<String>,
    /// Three letters.
    pub currency: String,
    /// Without any traffic.
    pub base: f64,
    /// Bytes that cost nothing more.
    pub included: u64,
    /// What the bytes beyond cost, the first first; the last one has no end.
    pub tiers: Vec<Tier>,
    /// The bytes beyond are rounded up to a multiple of this; 0 or 1 leaves them.
    pub round_up_to: u64,
}

/// A part of the bytes that are not included.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Tier {
    /// Its last byte, counted from the first that is not included.
    pub up_to: Option<u64>,
    /// Money for one byte.
    pub per_byte: f64,
}

/// Which bytes are on a bill.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Count {
    /// What leaves the machine.
    Egress,
    /// What leaves and what enters it.
    Both,
    /// The larger of the two.
    Max,
    /// What goes to clients, as providers of TURN count.
    ClientOut,
}

/// Another provider.
#[derive(Debug, Clone, PartialEq)]
pub struct Compare {
    /// Its name.
    pub vendor: String,
    /// Its price.
    pub price: Price,
    /// Which bytes it counts.
    pub count: Count,
    /// What one unit of its currency is here.
    pub rate: f64,
}

/// What a billing period may come to.
#[derive(Debug, Clone, PartialEq)]
pub struct Budget {
    /// Absent where there is none.
    pub limit: Option<BudgetLimit>,
    /// The part of it at which the operator is told.
    pub warn_at: f64,
    /// The part at which allocations are slowed down.
    pub degrade_at: f64,
    /// Bits a second of an allocation from then on.
    pub degraded_bitrate: u64,
    /// Whether live allocations end when all is spent; new ones are refused in any case.
    pub cut: bool,
    /// Where each change of its step is told, by HTTP; the URL may hold a token.
    pub webhook: Option<Secret>,
}

/// The end of a budget.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum BudgetLimit {
    /// Bytes that are on a bill.
    Bytes(u64),
    /// Money, what the period costs without traffic included.
    Money(f64),
}

/// What the ledger keeps of a client's address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClientPrivacy {
    /// All of it.
    Full,
    /// Its network: /24 of IPv4, /48 of IPv6.
    Prefix,
    /// Nothing.
    None,
}

/// What the ledger keeps of a subject.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UserPrivacy {
    /// All of it but the parts of its credential and pair.
    Full,
    /// A label that is the same for the same subject and tells nothing without this node's key.
    Hash,
    /// Nothing.
    None,
}

/// What is logged, and how.
#[derive(Debug, Clone)]
pub struct Log {
    /// A level or a filter such as `info,turnpike_relay=debug`.
    pub level: String,
    /// The shape of a line.
    pub format: LogFormat,
}

/// The shape of a log line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// Text.
    Text,
    /// One JSON object a line.
    Json,
}

/// The Redis that nodes share.
#[derive(Debug, Clone)]
pub struct Redis {
    /// With its password, if it has one.
    pub url: Secret,
    /// Nodes with the same prefix are one.
    pub prefix: String,
}

impl Redis {
    /// The address without its password, to be shown.
    pub fn place(&self) -> String {
        let url = self.url();
        let (scheme, rest) = url.split_once("://").unwrap_or(("", url));
        let (place, path) = rest.split_once('/').unwrap_or((rest, ""));
        let hosts = place.rsplit_once('@').map_or(place, |(_, hosts)| hosts);
        let separator = if path.is_empty() { "" } else { "/" };
        format!("{scheme}://{hosts}{separator}{path}")
    }

    /// The address as it was written.
    pub fn url(&self) -> &str {
        std::str::from_utf8(self.url.expose()).expect("it was text")
    }
}

/// A secret value: zeroed on drop, never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Zeroizing<Vec<u8>>);

impl Secret {
    /// Takes the bytes of a secret.
    pub fn new(bytes: impl Into<Vec<u8>>) -> Self {
        Self(Zeroizing::new(bytes.into()))
    }

    /// The bytes themselves, for signing and comparing.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(***)")
    }
}

/// The address part of a client for limits by source: IPv4 whole, IPv6 by /64.
pub fn source_prefix(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(v4) => IpAddr::V4(v4),
        IpAddr::V6(v6) => {
            let mut octets = v6.octets();
            octets[8..].fill(0);
            IpAddr::V6(octets.into())
        }
    }
}
