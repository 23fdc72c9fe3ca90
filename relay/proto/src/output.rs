//! What the core answers with: verdicts on bytes, and outputs to be acted on.

use std::{
    net::{IpAddr, SocketAddr},
    ops::Range,
    time::Duration,
};

use turnpike_relay_api::admin::Traffic;

use crate::{AllocationId, AllocationKey, ByFamily, Cause, DropReason, Family, FiveTuple, Shares};

/// What becomes of a datagram from a client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ClientVerdict {
    /// Send `datagram[payload]` to `peer`.
    Relay {
        /// Whose.
        allocation: AllocationKey,
        /// To whom.
        peer: SocketAddr,
        /// Which bytes of the datagram.
        payload: Range<usize>,
        /// Which way.
        route: Route,
        /// No router may fragment it (RFC 8656 §11.2).
        dont_fragment: bool,
    },
    /// Send what was written into `reply` to the client.
    Reply {
        /// The allocation that the answer's bytes belong to.
        allocation: Option<AllocationKey>,
    },
    /// Nothing to send for now; outputs may be waiting.
    Handled,
    /// Nothing to do; it is counted.
    Drop(DropReason),
}

/// Which way a payload goes to its peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Route {
    /// By the allocation's relay socket.
    Socket,
    /// The peer is an address of this node: the port table says whether it is a live relayed address, which gets it
    /// in process. One that is not gets it by the socket if `or_socket`, else it is dropped.
    Own {
        /// The operator opened this very address to clients.
        or_socket: bool,
    },
}

/// What becomes of a datagram from a peer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PeerVerdict {
    /// Send `header`, the payload and `pad` zero bytes to the client.
    Relay {
        /// The client, and the address to answer from.
        five_tuple: FiveTuple,
        /// ChannelData's or the Data indication's bytes in front of the payload.
        header: Header,
        /// Zero bytes behind it.
        pad: u8,
    },
    /// Nothing to do; it is counted.
    Drop(DropReason),
}

/// The bytes in front of a relayed payload, inline.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    bytes: [u8; Self::MAX],
    len: u8,
}

impl Header {
    /// The longest: a Data indication about an ICMP error from the way to an IPv6 peer.
    pub const MAX: usize = 56;

    pub(crate) fn new() -> Self {
        Self { bytes: [0; Self::MAX], len: 0 }
    }

    pub(crate) fn push(&mut self, bytes: &[u8]) {
        let start = usize::from(self.len);
        self.bytes[start..start + bytes.len()].copy_from_slice(bytes);
        self.len += bytes.len() as u8;
    }
}

impl AsRef<[u8]> for Header {
    fn as_ref(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }
}

/// What the driver has to do.
#[derive(Debug)]
pub enum Output {
    /// Send a message to a client.
    Transmit {
        /// To whom.
        to: FiveTuple,
        /// The whole STUN message.
        message: Vec<u8>,
        /// The allocation that its bytes belong to.
        allocation: Option<AllocationKey>,
    },
    /// Admit the allocation and bind its relay sockets; the result is an input.
    OpenRelay {
        /// Whose.
        allocation: AllocationKey,
        /// What is asked for.
        request: RelayRequest,
    },
    /// Flush what is in hand, then close one of two relay sockets. The allocation lives on with the other.
    CloseAddress {
        /// Whose.
        allocation: AllocationKey,
        /// Which.
        family: Family,
    },
    /// Flush what is in hand, close every relay socket that is left, then call [`crate::Server::release`].
    CloseRelay {
        /// Whose.
        allocation: AllocationKey,
    },
}

/// What an Allocate asks of the driver.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RelayRequest {
    /// The subject that the allocation counts for.
    pub subject: Box<str>,
    /// Most allocations of this subject, as signed into its username.
    pub limit: Option<u32>,
    /// Its credential, when bytes or bits a second are limited in its username.
    pub credential: Option<LimitedCredential>,
    /// The client's address.
    pub client: IpAddr,
    /// Which families; none where [`PortRequest::Reserved`] says it. Where two are asked for and one cannot be had,
    /// the other is given alone.
    pub families: ByFamily<bool>,
    /// Which port.
    pub port: PortRequest,
}

/// A credential with limits that all of its allocations share.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LimitedCredential {
    /// The whole username, limits included: it is what was signed.
    pub username: Box<str>,
    /// Unix time in seconds; later, no allocation can be made with it.
    pub expires_at: u64,
    /// Most relayed bytes.
    pub bytes: Option<u64>,
    /// Most relayed bits a second.
    pub bits_per_second: Option<u64>,
}

/// Which relay port an Allocate asks for (RFC 8656 §7.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PortRequest {
    /// Any.
    Any,
    /// EVEN-PORT with R = 0: an even one.
    Even,
    /// EVEN-PORT with R = 1: an even one, and the next held for 30 s or more.
    EvenAndReserveNext,
    /// RESERVATION-TOKEN: the port held under it.
    Reserved([u8; 8]),
}

/// The relay sockets that are bound, one at least.
#[derive(Debug, Clone)]
pub struct OpenedRelay {
    /// The addresses that peers see.
    pub advertised: ByFamily<Option<SocketAddr>>,
    /// The token of the port held beside it.
    pub reservation: Option<[u8; 8]>,
    /// The limits that its allocation shares with others.
    pub shares: Shares,
}

/// Why there is no relay socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RelayRefused {
    /// The subject has as many allocations as it may: 486.
    SubjectQuota,
    /// The client's address has as many allocations as it may: 486.
    ClientQuota,
    /// The credential has no bytes left: 486.
    ByteQuota,
    /// The credential has been revoked: 401.
    Revoked,
    /// The node has as many allocations as it may: 508.
    NodeFull,
    /// The node may not cost any more in this billing period: 508.
    Budget,
    /// No port is left: 508.
    NoPort,
    /// Nothing is held under that token: 508 (RFC 8656 §7.2).
    UnknownReservation,
    /// The operating system gave no socket: 508.
    Socket,
}

/// The final record of an allocation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Closed {
    /// Its id.
    pub id: AllocationId,
    /// The subject it counted for.
    pub subject: Box<str>,
    /// Why it ended.
    pub cause: Cause,
    /// Its client.
    pub five_tuple: FiveTuple,
    /// Its relayed addresses.
    pub relayed: ByFamily<Option<SocketAddr>>,
    /// When it began, in [`crate::Now::mono`].
    pub opened: Duration,
    /// When it ended.
    pub closed: Duration,
    /// What flowed, by the family of each leg.
    pub traffic: ByFamily<Traffic>,
}

/// An ICMP error from the way to a peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Icmp {
    /// Its type, of ICMPv4 or ICMPv6 as the peer's address is.
    pub kind: u8,
    /// Its code.
    pub code: u8,
    /// The MTU in it, where there is one.
    pub mtu: u32,
}
