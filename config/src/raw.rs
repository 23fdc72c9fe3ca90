//! The file as written: every key optional, unknown keys refused on every level, each value with its place.

use serde::Deserialize;
use toml::Spanned;

pub(crate) type Key<T> = Option<Spanned<T>>;
pub(crate) type List = Key<Vec<Spanned<String>>>;

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, expecting = "a section")]
pub(crate) struct File {
    pub(crate) node: Node,
    pub(crate) auth: Auth,
    pub(crate) relay: Relay,
    pub(crate) tls: Tls,
    pub(crate) signaling: Signaling,
    pub(crate) ice: Ice,
    pub(crate) mint: Mint,
    pub(crate) redis: Redis,
    pub(crate) metrics: Metrics,
    pub(crate) usage: Usage,
    pub(crate) cost: Cost,
    pub(crate) budget: Budget,
    pub(crate) log: Log,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, expecting = "a section")]
pub(crate) struct Node {
    pub(crate) name: Key<String>,
    pub(crate) domain: Key<String>,
    pub(crate) public_ipv4: Key<String>,
    pub(crate) public_ipv6: Key<String>,
    pub(crate) allow_private_address: Key<bool>,
    pub(crate) detect: List,
    pub(crate) state_dir: Key<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, expecting = "a section")]
pub(crate) struct Auth {
    pub(crate) secret_file: Key<String>,
    pub(crate) realm: Key<String>,
    pub(crate) credential_ttl: Key<String>,
    pub(crate) strict_expiry: Key<bool>,
    pub(crate) api_keys_file: Key<String>,
    pub(crate) admin_keys_file: Key<String>,
    pub(crate) jwt_keys_file: Key<String>,
    pub(crate) static_user: Vec<StaticUser>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a section")]
pub(crate) struct StaticUser {
    pub(crate) username: Spanned<String>,
    pub(crate) password: Spanned<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, expecting = "a section")]
pub(crate) struct Relay {
    pub(crate) listen_udp: List,
    pub(crate) listen_tcp: List,
    pub(crate) relay_ipv4: Key<String>,
    pub(crate) relay_ipv6: Key<String>,
    pub(crate) port_range: Key<Vec<i64>>,
    pub(crate) shards: Key<i64>,
    pub(crate) max_allocations: Key<i64>,
    pub(crate) max_allocations_per_subject: Key<i64>,
    pub(crate) max_allocations_per_ip: Key<i64>,
    pub(crate) max_permissions_per_allocation: Key<i64>,
    pub(crate) max_channels_per_allocation: Key<i64>,
    pub(crate) max_bitrate_per_allocation: Key<String>,
    pub(crate) max_bitrate_per_subject: Key<String>,
    pub(crate) max_bitrate_total: Key<String>,
    pub(crate) default_lifetime: Key<String>,
    pub(crate) max_lifetime: Key<String>,
    pub(crate) strict_permissions: Key<bool>,
    pub(crate) rfc5766_channel_numbers: Key<bool>,
    pub(crate) allow_peers: List,
    pub(crate) deny_peers: List,
    pub(crate) min_peer_port: Key<i64>,
    pub(crate) unauthenticated_per_second: Key<i64>,
    pub(crate) binding_per_second: Key<i64>,
    pub(crate) software_attribute: Key<bool>,
    pub(crate) drain_timeout: Key<String>,
    pub(crate) drain_alternate: Key<String>,
    pub(crate) admin_socket: Key<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, expecting = "a section")]
pub(crate) struct Tls {
    pub(crate) mode: Key<String>,
    pub(crate) listen: List,
    pub(crate) acme_http_listen: List,
    pub(crate) acme_email: Key<String>,
    pub(crate) acme_directory: Key<String>,
    pub(crate) acme_eab_key_id: Key<String>,
    pub(crate) acme_eab_key_file: Key<String>,
    pub(crate) cert_file: Key<String>,
    pub(crate) key_file: Key<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, expecting = "a section")]
pub(crate) struct Signaling {
    pub(crate) listen: List,
    pub(crate) internal_socket: Key<String>,
    pub(crate) path: Key<String>,
    pub(crate) polling: Key<bool>,
    pub(crate) trusted_proxies: List,
    pub(crate) origins: List,
    pub(crate) max_sockets: Key<i64>,
    pub(crate) max_sockets_per_ip: Key<i64>,
    pub(crate) widen_after: Key<String>,
    pub(crate) accept_within: Key<String>,
    pub(crate) resume_for: Key<String>,
    pub(crate) pair_grace: Key<String>,
    pub(crate) rematch_after: Key<String>,
    pub(crate) ban_after_reports: Key<i64>,
    pub(crate) ban_for: Key<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, expecting = "a section")]
pub(crate) struct Ice {
    pub(crate) urls: Key<Urls>,
    pub(crate) policy: Key<String>,
}

#[derive(Debug, Deserialize)]
#[serde(untagged, expecting = "expected \"auto\" or a list such as [\"stun:host:3478\", \"turn:host:3478\"]")]
pub(crate) enum Urls {
    Word(String),
    List(Vec<String>),
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, expecting = "a section")]
pub(crate) struct Mint {
    pub(crate) anonymous: Key<bool>,
    pub(crate) per_ip_per_minute: Key<i64>,
    pub(crate) per_ip_per_hour: Key<i64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, expecting = "a section")]
pub(crate) struct Redis {
    pub(crate) url: Key<String>,
    pub(crate) prefix: Key<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, expecting = "a section")]
pub(crate) struct Metrics {
    pub(crate) relay_listen: Key<String>,
    pub(crate) signaling_listen: Key<String>,
    pub(crate) selftest: Key<String>,
    pub(crate) tenants: List,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, expecting = "a section")]
pub(crate) struct Usage {
    pub(crate) interim: Key<String>,
    pub(crate) retention_days: Key<i64>,
    pub(crate) client_address: Key<String>,
    pub(crate) user: Key<String>,
}

/// What is left out, or empty, is the preset's.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, expecting = "a section")]
pub(crate) struct Cost {
    pub(crate) preset: Key<String>,
    pub(crate) currency: Key<String>,
    pub(crate) base_per_period: Key<Amount>,
    pub(crate) included: Key<String>,
    pub(crate) tiers: Key<Vec<Spanned<Tier>>>,
    pub(crate) round_up_to: Key<String>,
    pub(crate) count: Key<String>,
    pub(crate) header_overhead: Key<bool>,
    pub(crate) reset_day: Key<i64>,
    pub(crate) compare: Vec<Spanned<Compare>>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(untagged, expecting = "expected an amount of money such as 4.5, or \"\" for the preset's")]
pub(crate) enum Amount {
    Whole(i64),
    Number(f64),
    Text(String),
}

#[derive(Debug, Default, Clone, Deserialize)]
#[serde(default, deny_unknown_fields, expecting = "a tier such as { up_to = \"10TB\", per_gb = 0.09 }")]
pub(crate) struct Tier {
    pub(crate) up_to: String,
    pub(crate) per_tb: Option<f64>,
    pub(crate) per_gb: Option<f64>,
    pub(crate) per_gib: Option<f64>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a section")]
pub(crate) struct Compare {
    pub(crate) vendor: String,
    pub(crate) per_gb: Option<f64>,
    #[serde(default)]
    pub(crate) free_gb: f64,
    pub(crate) count: Option<String>,
    pub(crate) rate: Option<f64>,
}

/// A price of a provider as it was at some time.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Preset {
    pub(crate) title: String,
    pub(crate) as_of: String,
    pub(crate) currency: String,
    pub(crate) base_per_period: f64,
    pub(crate) included: String,
    pub(crate) tiers: Vec<Tier>,
    pub(crate) round_up_to: String,
    pub(crate) count: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, expecting = "a section")]
pub(crate) struct Budget {
    pub(crate) per_period: Key<String>,
    pub(crate) warn_at: Key<f64>,
    pub(crate) degrade_at: Key<f64>,
    pub(crate) degraded_bitrate: Key<String>,
    pub(crate) on_exhausted: Key<String>,
    pub(crate) webhook: Key<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, expecting = "a section")]
pub(crate) struct Log {
    pub(crate) level: Key<String>,
    pub(crate) format: Key<String>,
}
