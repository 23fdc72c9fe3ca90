use std::{
    net::{IpAddr, SocketAddr, ToSocketAddrs as _},
    ops::RangeInclusive,
};

use clap::Args;
use turnpike_turn_client::Transport;

/// The server under test, and what its operator says of its settings.
#[derive(Debug, Clone, Args)]
pub struct Target {
    /// The server
    #[arg(long, value_name = "HOST:PORT", value_parser = address)]
    pub server: SocketAddr,
    /// Its TURN REST secret
    #[arg(long)]
    pub secret: String,
    /// Its realm; any when absent
    #[arg(long)]
    pub realm: Option<String>,
    /// udp, tcp or tls
    #[arg(long, default_value_t = Transport::Udp)]
    pub transport: Transport,
    /// The name asked for over TLS; certificates are not judged
    #[arg(long, default_value = "localhost")]
    pub tls_name: String,
    /// Its TCP listener, for the rules about streams in a run over UDP [default: as --server]
    #[arg(long, value_name = "HOST:PORT", value_parser = address)]
    pub tcp: Option<SocketAddr>,
    /// Its UDP listener on IPv6
    #[arg(long, value_name = "[ADDR]:PORT", value_parser = address)]
    pub ipv6: Option<SocketAddr>,
    /// Another address that the same UDP listener is reached at
    #[arg(long, value_name = "HOST:PORT", value_parser = address)]
    pub also: Option<SocketAddr>,
    /// This machine's addresses for peers [default: 127.0.0.2,127.0.0.3 for a server on loopback]
    #[arg(long, value_name = "IP", value_delimiter = ',')]
    pub peer: Vec<IpAddr>,
    /// Longest lifetime that it gives, in seconds
    #[arg(long, default_value_t = 3600)]
    pub max_lifetime: u32,
    /// Whether it sends SOFTWARE: on or off
    #[arg(long, value_name = "on|off", value_parser = on_or_off)]
    pub software: Option<bool>,
    /// Its quota of allocations for one user
    #[arg(long, value_name = "N")]
    pub quota: Option<usize>,
    /// Its relay ports
    #[arg(long, value_name = "FIRST-LAST", default_value = "49152-65535", value_parser = ports)]
    pub ports: RangeInclusive<u16>,
    /// Most permissions of one allocation
    #[arg(long, value_name = "N")]
    pub max_permissions: Option<usize>,
    /// Most channels of one allocation
    #[arg(long, value_name = "N")]
    pub max_channels: Option<usize>,
    /// An address of this machine that it refuses as a peer
    #[arg(long, value_name = "IP")]
    pub denied_peer: Option<IpAddr>,
    /// The server that it sends every Allocate to, with 300
    #[arg(long, value_name = "HOST:PORT", value_parser = address)]
    pub alternate: Option<SocketAddr>,
    /// Its limit for one user, in bits a second
    #[arg(long, value_name = "BITS")]
    pub user_bitrate: Option<u64>,
    /// The server is built from this workspace: what the wire does not show is shown by a test of its core
    #[arg(long)]
    pub own: bool,
    /// Also wait for timers, each rule at most this long
    #[arg(long, value_name = "SECONDS", num_args = 0..=1, default_value_t = 0, default_missing_value = "700")]
    pub slow: u64,
}

fn address(text: &str) -> Result<SocketAddr, String> {
    let addresses = text.to_socket_addrs().map_err(|error| format!("{error}: write HOST:PORT"))?;
    let mut addresses: Vec<_> = addresses.collect();
    addresses.sort_by_key(SocketAddr::is_ipv6);
    addresses.first().copied().ok_or_else(|| "the name has no address".into())
}

fn on_or_off(text: &str) -> Result<bool, String> {
    match text {
        "on" => Ok(true),
        "off" => Ok(false),
        _ => Err("write on or off".into()),
    }
}

fn ports(text: &str) -> Result<RangeInclusive<u16>, String> {
    let parsed =
        text.split_once('-').and_then(|(first, last)| Some(first.parse().ok()?..=last.parse().ok()?));
    parsed.filter(|range| !range.is_empty()).ok_or_else(|| "write FIRST-LAST".into())
}
