//! What the clients and their peers may do, as values that both the sender and the model read.

use std::{
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use turnpike_proto::{ByFamily, Family, RelayRefused, Transport};

use super::super::input::Input;
use crate::{
    message::*,
    world::{RELAY_IP, RELAY_IPV6, UNIX, peer, peer6},
};

pub const CLIENTS: usize = 4;
pub const USERS: usize = 4;

/// The families that a server has relayed addresses of: both in most runs.
pub fn served(choice: u8) -> ByFamily<bool> {
    ByFamily::from_fn(|family| match choice % 8 {
        1 => family == Family::Ipv4,
        2 => family == Family::Ipv6,
        _ => true,
    })
}

/// The client legs: two over UDP from one address, one over TCP, one over IPv6.
pub fn client_leg(client: usize) -> (Transport, SocketAddr) {
    match client {
        0 => (Transport::Udp, SocketAddr::from(([203, 0, 114, 1], 40_000))),
        1 => (Transport::Udp, SocketAddr::from(([203, 0, 114, 1], 40_001))),
        2 => (Transport::Tcp, SocketAddr::from(([203, 0, 114, 2], 40_000))),
        _ => (Transport::Udp, SocketAddr::new("2606:4700::9".parse().unwrap(), 40_000)),
    }
}

/// When a user's credential expires, in Unix seconds: one of them soon.
pub fn user_expires(user: usize) -> u64 {
    if user == USERS - 1 { UNIX + 700 } else { UNIX + 100_000_000 }
}

/// How much of a peer the policy lets a client reach.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    Yes,
    /// Its address, but not this port.
    NotThisPort,
    No,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Peer {
    pub address: SocketAddr,
    pub reach: Reach,
}

fn a_peer(input: &mut Input<'_>) -> Peer {
    let choice = input.byte();
    let (address, reach) = match choice % 16 {
        which if choice & 0x80 != 0 => a_peer_of_ipv6(which),
        0 | 1 => (peer(1, 5000), Reach::Yes),
        2 => (peer(1, 5001), Reach::Yes),
        3 => (peer(2, 5000), Reach::Yes),
        4 => (peer(3, 5000), Reach::Yes),
        5 => (peer(4, 5000), Reach::Yes),
        6 => (peer(5, 3478), Reach::Yes),
        7 => (peer(1, 80), Reach::NotThisPort),
        8 => (peer(2, 0), Reach::NotThisPort),
        9 => (SocketAddr::from((RELAY_IP, 50_002)), Reach::Yes),
        10 => (SocketAddr::from((RELAY_IP, 3478)), Reach::NotThisPort),
        11 => (SocketAddr::from(([203, 0, 114, 9], 5000)), Reach::No),
        12 => (SocketAddr::from(([127, 0, 0, 1], 5000)), Reach::No),
        13 => (SocketAddr::from(([192, 168, 0, 1], 5000)), Reach::No),
        14 => (peer6(1, 5000), Reach::Yes),
        _ => (SocketAddr::new("::ffff:127.0.0.1".parse().unwrap(), 5000), Reach::No),
    };
    Peer { address, reach }
}

fn a_peer_of_ipv6(which: u8) -> (SocketAddr, Reach) {
    match which {
        0 | 1 => (peer6(1, 5000), Reach::Yes),
        2 => (peer6(1, 5001), Reach::Yes),
        3..=6 => (peer6(which.into(), 5000), Reach::Yes),
        7 => (peer6(1, 80), Reach::NotThisPort),
        8 => (peer6(3, 0), Reach::NotThisPort),
        9 => (SocketAddr::from((RELAY_IPV6, 50_002)), Reach::Yes),
        10 => (SocketAddr::from((RELAY_IPV6, 3478)), Reach::NotThisPort),
        11 => (SocketAddr::new("::1".parse().unwrap(), 5000), Reach::No),
        12 => (SocketAddr::new("fe80::1".parse().unwrap(), 5000), Reach::No),
        13 => (SocketAddr::new("2002:7f00:1::1".parse().unwrap(), 5000), Reach::No),
        14 => (SocketAddr::new("2001:0:102:304::1".parse().unwrap(), 5000), Reach::No),
        _ => (SocketAddr::new("64:ff9b::102:304".parse().unwrap(), 5000), Reach::No),
    }
}

/// XOR-PEER-ADDRESS as it is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PeerAttribute {
    Peer(Peer),
    Malformed,
}

impl PeerAttribute {
    fn any(input: &mut Input<'_>) -> Self {
        if input.one_in(16) { Self::Malformed } else { Self::Peer(a_peer(input)) }
    }

    fn add_to(self, builder: Builder) -> Builder {
        match self {
            Self::Peer(peer) => builder.peer(peer.address),
            Self::Malformed => builder.attr(XOR_PEER, &[0, 1, 2, 3, 4, 5]),
        }
    }
}

/// LIFETIME as it is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lifetime {
    Absent,
    Malformed,
    Seconds(u32),
}

impl Lifetime {
    fn any(input: &mut Input<'_>) -> Self {
        match input.byte() % 8 {
            1 => Self::Malformed,
            2 => Self::Seconds(0),
            3 => Self::Seconds(1),
            4 => Self::Seconds(1200),
            5 => Self::Seconds(3601),
            6 => Self::Seconds(u32::MAX),
            _ => Self::Absent,
        }
    }

    /// RFC 8656 §7.2: at least 600 seconds, at most what this server has for its most.
    pub fn granted(self) -> Duration {
        let Self::Seconds(asked) = self else { return Duration::from_secs(600) };
        Duration::from_secs(asked.clamp(600, 3600).into())
    }

    /// What a Refresh is told (RFC 8656 §8.2).
    pub fn refreshed(self) -> Duration {
        if self == Self::Seconds(0) { Duration::ZERO } else { self.granted() }
    }

    fn add_to(self, builder: Builder) -> Builder {
        match self {
            Self::Absent => builder,
            Self::Malformed => builder.attr(LIFETIME, &[0, 0, 2]),
            Self::Seconds(seconds) => builder.u32(LIFETIME, seconds),
        }
    }
}

/// How a request is signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Login {
    Right,
    NoMac,
    NoRealm,
    WrongKey,
    AnothersNonce,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    pub client: usize,
    pub user: usize,
    pub login: Login,
    pub transaction: u8,
    /// An attribute that must be understood and that nobody knows.
    pub unknown: bool,
    pub body: Body,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Body {
    Allocate(Allocate),
    Refresh { lifetime: Lifetime, family: Option<u8> },
    CreatePermission { peers: Vec<PeerAttribute> },
    ChannelBind { number: Option<u16>, peer: Option<PeerAttribute> },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Allocate {
    /// REQUESTED-TRANSPORT's value.
    pub transport: &'static [u8],
    pub lifetime: Lifetime,
    /// EVEN-PORT's value.
    pub even_port: Option<u8>,
    pub token: Option<[u8; 8]>,
    pub family: Option<u8>,
    pub second_family: Option<u8>,
}

impl Request {
    pub fn any(input: &mut Input<'_>, transaction: u8) -> Self {
        let who = input.byte();
        let how = input.byte();
        let login = match how % 16 {
            1 => Login::NoMac,
            2 => Login::NoRealm,
            3 => Login::WrongKey,
            4 => Login::AnothersNonce,
            _ => Login::Right,
        };
        Self {
            client: usize::from(who) % CLIENTS,
            user: usize::from(who) / CLIENTS % USERS,
            login,
            transaction,
            unknown: how / 16 == 1,
            body: Body::any(input),
        }
    }

    pub fn kind(&self) -> u16 {
        match self.body {
            Body::Allocate(_) => ALLOCATE,
            Body::Refresh { .. } => REFRESH,
            Body::CreatePermission { .. } => CREATE_PERMISSION,
            Body::ChannelBind { .. } => CHANNEL_BIND,
        }
    }

    /// The message, without credentials.
    pub fn written(&self) -> Builder {
        let mut builder = Builder::new(self.kind(), self.transaction);
        if self.unknown {
            builder = builder.attr(0x7001, b"?");
        }
        match &self.body {
            Body::Allocate(allocate) => allocate.add_to(builder),
            Body::Refresh { lifetime, family } => {
                let builder = lifetime.add_to(builder);
                family.iter().fold(builder, |builder, family| builder.attr(FAMILY, &[*family, 0, 0, 0]))
            }
            Body::CreatePermission { peers } => {
                peers.iter().fold(builder, |builder, peer| peer.add_to(builder))
            }
            Body::ChannelBind { number, peer } => {
                let builder = number.iter().fold(builder, |builder, number| builder.channel(*number));
                peer.iter().fold(builder, |builder, peer| peer.add_to(builder))
            }
        }
    }
}

impl Body {
    fn any(input: &mut Input<'_>) -> Self {
        match input.byte() % 8 {
            0 | 1 => Self::Allocate(Allocate::any(input)),
            2 | 3 => Self::Refresh {
                lifetime: Lifetime::any(input),
                family: input.pick(&[None, None, None, Some(1), Some(2), Some(3)]),
            },
            4 | 5 => {
                let count = input.pick(&[1, 1, 2, 3, 5, 0]);
                Self::CreatePermission { peers: (0..count).map(|_| PeerAttribute::any(input)).collect() }
            }
            _ => Self::ChannelBind {
                number: channel_number(input),
                peer: (!input.one_in(16)).then(|| PeerAttribute::any(input)),
            },
        }
    }
}

impl Allocate {
    fn any(input: &mut Input<'_>) -> Self {
        let port = input.byte();
        Self {
            transport: match input.byte() % 16 {
                1 => &[],
                2 => &[17],
                3 => &[6, 0, 0, 0],
                _ => &[17, 0, 0, 0],
            },
            lifetime: Lifetime::any(input),
            even_port: [None, Some(0x80), Some(0), None][usize::from(port % 4)],
            token: (port % 8 > 5).then_some([7; 8]),
            family: input.pick(&[None, None, None, None, Some(1), Some(2), Some(9)]),
            second_family: match input.byte() % 8 {
                1 | 2 => Some(2),
                3 => Some(1),
                _ => None,
            },
        }
    }

    fn add_to(self, mut builder: Builder) -> Builder {
        if !self.transport.is_empty() {
            builder = builder.attr(TRANSPORT, self.transport);
        }
        builder = self.lifetime.add_to(builder);
        if let Some(flags) = self.even_port {
            builder = builder.attr(EVEN_PORT, &[flags]);
        }
        if let Some(token) = self.token {
            builder = builder.attr(TOKEN, &token);
        }
        if let Some(family) = self.family {
            builder = builder.attr(FAMILY, &[family, 0, 0, 0]);
        }
        match self.second_family {
            Some(family) => builder.attr(SECOND_FAMILY, &[family, 0, 0, 0]),
            None => builder,
        }
    }
}

/// Numbers that a client may bind, and some that it may not.
pub fn channel_number(input: &mut Input<'_>) -> Option<u16> {
    input.pick(&[
        Some(0x4000),
        Some(0x4000),
        Some(0x4001),
        Some(0x4002),
        Some(0x4FFF),
        Some(0x5000),
        Some(0x3FFF),
        None,
    ])
}

/// A datagram between a client and a peer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Data {
    pub peer: Peer,
    pub payload: Vec<u8>,
}

impl Data {
    pub fn any(input: &mut Input<'_>) -> Self {
        let peer = a_peer(input);
        let len = input.pick(&[5_usize, 0, 1, 4, 1200]);
        Self { peer, payload: (0..len).map(|at| at as u8).collect() }
    }
}

pub fn refusal(input: &mut Input<'_>) -> RelayRefused {
    input.pick(&[
        RelayRefused::SubjectQuota,
        RelayRefused::NodeFull,
        RelayRefused::NoPort,
        RelayRefused::UnknownReservation,
        RelayRefused::Socket,
        RelayRefused::ClientQuota,
        RelayRefused::ByteQuota,
        RelayRefused::Revoked,
    ])
}

/// Whether data for this peer goes by the table of this node's relayed addresses.
pub fn is_own(peer: SocketAddr) -> bool {
    [IpAddr::from(RELAY_IP), IpAddr::from(RELAY_IPV6)].contains(&peer.ip())
}
