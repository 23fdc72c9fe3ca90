//! Who talks to whom, and when.

use std::{
    net::{IpAddr, SocketAddr},
    ops::{Index, IndexMut},
    time::Duration,
};

use turnpike_relay_api::admin::Traffic;

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

/// An IP family.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Family {
    /// IPv4.
    Ipv4,
    /// IPv6.
    Ipv6,
}

impl Family {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Ipv4, Self::Ipv6];

    /// The family of an address.
    pub fn of(ip: IpAddr) -> Self {
        match ip {
            IpAddr::V4(_) => Self::Ipv4,
            IpAddr::V6(_) => Self::Ipv6,
        }
    }

    /// The label in metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ipv4 => "ipv4",
            Self::Ipv6 => "ipv6",
        }
    }

    /// The number in STUN attributes (RFC 8489 §14.1, RFC 8656 §18.6).
    pub(crate) fn number(self) -> u8 {
        match self {
            Self::Ipv4 => 1,
            Self::Ipv6 => 2,
        }
    }

    pub(crate) fn of_number(number: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|family| family.number() == number)
    }
}

/// One value for each family.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ByFamily<T>([T; 2]);

impl<T> ByFamily<T> {
    /// Makes each value from its family.
    pub fn from_fn(mut value: impl FnMut(Family) -> T) -> Self {
        Self(Family::ALL.map(&mut value))
    }

    /// Both values with their families, IPv4 first.
    pub fn iter(&self) -> impl Iterator<Item = (Family, &T)> {
        Family::ALL.into_iter().zip(&self.0)
    }

    /// The same, to be changed.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = (Family, &mut T)> {
        Family::ALL.into_iter().zip(&mut self.0)
    }
}

impl<T> Index<Family> for ByFamily<T> {
    type Output = T;

    fn index(&self, family: Family) -> &T {
        &self.0[family as usize]
    }
}

impl<T> IndexMut<Family> for ByFamily<T> {
    fn index_mut(&mut self, family: Family) -> &mut T {
        &mut self.0[family as usize]
    }
}

impl ByFamily<Traffic> {
    /// What has flowed over both.
    pub fn total(&self) -> Traffic {
        let mut total = Traffic::default();
        self.0.iter().for_each(|traffic| total.add(traffic));
        total
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
pub(crate) fn header_overhead(family: Family) -> u64 {
    match family {
        Family::Ipv4 => 20 + 8,
        Family::Ipv6 => 40 + 8,
    }
}

/// Bytes of the IP and TCP headers of a segment, without options.
pub(crate) fn segment_overhead(ip: IpAddr) -> u64 {
    match ip {
        IpAddr::V4(_) => 20 + 20,
        IpAddr::V6(_) => 40 + 20,
    }
}
