//! What the core is told at its start.

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use ipnet::IpNet;
use zeroize::Zeroizing;

use crate::{ByFamily, SharedBucket, SourceLimits};

/// The settings of one [`crate::Server`]; each shard gets a clone.
#[derive(Clone)]
pub struct Config {
    /// The realm of the long-term credential mechanism (RFC 8489 §9.2).
    pub realm: String,
    /// TURN REST secrets; any of them verifies. The server keeps these.
    pub secrets: Vec<Zeroizing<Vec<u8>>>,
    /// Names and passwords that do not expire. The server keeps the keys that are made of them.
    pub static_users: Vec<(String, Zeroizing<String>)>,
    /// The one of them that the node tries itself with. What flows through its allocations counts as that of no
    /// allocation, and they are in no list and no count of allocations.
    pub self_test: Option<Box<str>>,
    /// An expired credential does not refresh an allocation either.
    pub strict_expiry: bool,
    /// Which relayed addresses there are.
    pub families: ByFamily<bool>,
    /// The addresses of this node.
    pub own: OwnAddresses,
    /// Peer networks opened on top of the built-in list.
    pub allow_peers: Vec<IpNet>,
    /// Peer networks closed on top of the built-in list.
    pub deny_peers: Vec<IpNet>,
    /// Lowest peer port that data is sent to.
    pub min_peer_port: u16,
    /// Most permissions of one allocation.
    pub max_permissions: usize,
    /// Most channels of one allocation.
    pub max_channels: usize,
    /// Lifetime given when none is asked for.
    pub default_lifetime: Duration,
    /// Longest lifetime given.
    pub max_lifetime: Duration,
    /// A bound channel does not keep its permission alive.
    pub strict_permissions: bool,
    /// Channel numbers up to 0x7FFF (RFC 5766 §11) instead of 0x4FFF (RFC 8656 §12).
    pub rfc5766_channel_numbers: bool,
    /// Where clients are sent while this server drains, with 300; without one they get 508.
    pub drain_alternate: Option<SocketAddr>,
    /// SOFTWARE of answers to Allocate and Refresh.
    pub software: Option<String>,
    /// Most bits a second that one allocation relays, both directions together; 0 is no limit.
    pub max_bitrate_per_allocation: u64,
    /// What all allocations of all servers of the process relay together.
    pub total_bitrate: Option<Arc<SharedBucket>>,
    /// How often unproven sources are answered; one for all servers of the process.
    pub sources: Arc<SourceLimits>,
}

/// The addresses of this node, which peers may be only as relayed addresses.
#[derive(Debug, Default, Clone)]
pub struct OwnAddresses {
    /// Where relayed addresses live: of each family the advertised address and the one that relay sockets are bound on.
    pub relayed: Vec<IpAddr>,
    /// Every other address of this host.
    pub others: Vec<IpAddr>,
    /// Ports that this node listens on.
    pub listeners: Vec<u16>,
}
