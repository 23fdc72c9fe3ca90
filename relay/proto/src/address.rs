//! Who talks to whom, and when.

use std::{
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use crate::Label;

/// Time as an input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Now {
    /// Time since the process started; never goes back.
    pub mono: Duration,
    /// Unix time in seconds; follows the wall clock.
    pub unix: u64,
}

/// The transport of the client leg.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Transport {
    /// Datagrams.
    Udp,
    /// A stream.
    Tcp,
    /// A stream inside TLS.
    Tls,
}

impl Transport {
    /// The label in metrics and the admin API.
    pub fn name(self) -> &'static str {
        match self {
            Self::Udp => "udp",
            Self::Tcp => "tcp",
            Self::Tls => "tls",
        }
    }

    /// Whether messages come one behind the other, without datagrams around them.
    pub fn is_stream(self) -> bool {
        self != Self::Udp
    }
}

impl Label for Transport {
    const ALL: &'static [Self] = &[Self::Udp, Self::Tcp, Self::Tls];

    fn index(self) -> usize {
        self as usize
    }

    fn name(self) -> &'static str {
        Transport::name(self)
    }
}

/// What an allocation is known by (RFC 8656 §3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct FiveTuple {
    /// Transport between client and server.
    pub transport: Transport,
    /// The client's address as the server sees it.
    pub client: SocketAddr,
    /// The local address that the client's datagrams come to; answers leave from it.
    pub server: SocketAddr,
}

/// A slot of one [`crate::Server`] at one time: `index` is dense and reused, `generation` is not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct AllocationKey {
    /// Number of the slot.
    pub index: u32,
    /// How often the slot was used before.
    pub generation: u32,
}

/// Bytes of the IP and UDP headers in front of a payload, without options.
pub(crate) fn header_overhead(ip: IpAddr) -> u64 {
    match ip {
        IpAddr::V4(_) => 20 + 8,
        IpAddr::V6(_) => 40 + 8,
    }
}

/// Bytes of the IP and TCP headers of a segment, without options.
pub(crate) fn segment_overhead(ip: IpAddr) -> u64 {
    match ip {
        IpAddr::V4(_) => 20 + 20,
        IpAddr::V6(_) => 40 + 20,
    }
}
