//! IP headers and ICMP: raw sockets, for which a process needs CAP_NET_RAW.

use std::{
    io::{self, Read as _},
    net::{Ipv4Addr, SocketAddrV4},
    time::{Duration, Instant},
};

use socket2::{Domain, Protocol, SockAddr, Socket, Type};

use crate::finding::Finding;

const IP_HEADER_LEN: usize = 20;
const UDP_HEADER_LEN: usize = 8;
const UDP: u8 = 17;
const DONT_FRAGMENT: u8 = 0x40;

/// What of a datagram's IP header the rules speak of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct IpHeader {
    /// DSCP and ECN.
    pub(crate) tos: u8,
    pub(crate) dont_fragment: bool,
}

/// Hears the datagrams that an address of this machine gets, with their IP headers.
pub(crate) struct Sniffer {
    socket: Socket,
}

fn raw(protocol: Protocol) -> Result<Socket, Finding> {
    Socket::new(Domain::IPV4, Type::RAW, Some(protocol)).map_err(|error| match error.kind() {
        io::ErrorKind::PermissionDenied => {
            Finding::not_applicable("needs raw sockets on this machine: run it as root or with CAP_NET_RAW")
        }
        _ => error.into(),
    })
}

impl Sniffer {
    pub(crate) fn open(at: Ipv4Addr) -> Result<Self, Finding> {
        let socket = raw(Protocol::UDP)?;
        socket.bind(&SockAddr::from(SocketAddrV4::new(at, 0)))?;
        Ok(Self { socket })
    }

    /// The header of the datagram with this payload, within 1.5 s.
    pub(crate) fn header_of(&mut self, payload: &[u8]) -> io::Result<Option<IpHeader>> {
        let deadline = Instant::now() + Duration::from_millis(1500);
        let mut packet = [0; 2048];
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(None);
            }
            self.socket.set_read_timeout(Some(left))?;
            let length = match self.socket.read(&mut packet) {
                Ok(length) => length,
                Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
                    return Ok(None);
                }
                Err(error) => return Err(error),
            };
            let header_len = usize::from(packet[0] & 0x0F) * 4;
            if packet[..length].get(header_len + UDP_HEADER_LEN..) == Some(payload) {
                return Ok(Some(IpHeader { tos: packet[1], dont_fragment: packet[6] & DONT_FRAGMENT != 0 }));
            }
        }
    }
}

/// Sends a UDP datagram with an IP header of one's own.
pub(crate) fn send_udp(
    from: SocketAddrV4,
    to: SocketAddrV4,
    header: IpHeader,
    payload: &[u8],
) -> Result<(), Finding> {
    let socket = raw(Protocol::UDP)?;
    socket.set_header_included_v4(true)?;
    let mut packet = ip_header(from.ip(), to.ip(), header, UDP_HEADER_LEN + payload.len());
    packet.extend(udp_header(from, to, payload.len()));
    packet.extend(payload);
    socket.send_to(&packet, &SockAddr::from(to))?;
    Ok(())
}

/// An ICMP error as a router at the address of `peer` would send it, about a datagram from `relayed` to `peer`.
pub(crate) fn send_icmp(
    relayed: SocketAddrV4,
    peer: SocketAddrV4,
    kind: u8,
    code: u8,
    rest: u32,
) -> Result<(), Finding> {
    let socket = raw(Protocol::ICMPV4)?;
    let mut message = vec![kind, code, 0, 0];
    message.extend(rest.to_be_bytes());
    let about = IpHeader { tos: 0, dont_fragment: true };
    message.extend(ip_header(relayed.ip(), peer.ip(), about, UDP_HEADER_LEN + 4));
    message.extend(udp_header(relayed, peer, 4));
    message.extend(b"data");
    let sum = checksum(&message);
    message[2..4].copy_from_slice(&sum.to_be_bytes());
    socket.bind(&SockAddr::from(SocketAddrV4::new(*peer.ip(), 0)))?;
    socket.send_to(&message, &SockAddr::from(SocketAddrV4::new(*relayed.ip(), 0)))?;
    Ok(())
}

/// RFC 791 §3.1; the kernel fills in the checksum of what it sends.
fn ip_header(from: &Ipv4Addr, to: &Ipv4Addr, header: IpHeader, payload_len: usize) -> Vec<u8> {
    let length = u16::try_from(IP_HEADER_LEN + payload_len).expect("a test's datagram is short");
    let flags = if header.dont_fragment { DONT_FRAGMENT } else { 0 };
    let mut bytes = vec![0x45, header.tos];
    bytes.extend(length.to_be_bytes());
    bytes.extend([0, 0, flags, 0, 64, UDP, 0, 0]);
    bytes.extend(from.octets());
    bytes.extend(to.octets());
    let sum = checksum(&bytes);
    bytes[10..12].copy_from_slice(&sum.to_be_bytes());
    bytes
}

/// RFC 768; a checksum of zero means that there is none.
fn udp_header(from: SocketAddrV4, to: SocketAddrV4, payload_len: usize) -> [u8; UDP_HEADER_LEN] {
    let length = u16::try_from(UDP_HEADER_LEN + payload_len).expect("a test's datagram is short");
    let mut bytes = [0; UDP_HEADER_LEN];
    bytes[..2].copy_from_slice(&from.port().to_be_bytes());
    bytes[2..4].copy_from_slice(&to.port().to_be_bytes());
    bytes[4..6].copy_from_slice(&length.to_be_bytes());
    bytes
}

/// RFC 1071.
fn checksum(bytes: &[u8]) -> u16 {
    let words = bytes.chunks(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0)));
    let mut sum: u32 = words.sum();
    while sum > 0xFFFF {
        sum = (sum & 0xFFFF) + (sum >> 16);
    }
    !(sum as u16)
}
