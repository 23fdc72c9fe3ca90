//! Attribute types (RFC 8489 §18.3, RFC 8656 §18) and the address attributes' XOR.

use std::net::{IpAddr, SocketAddr};

use super::{MAGIC_COOKIE, TransactionId};

pub(crate) const USERNAME: u16 = 0x0006;
pub(crate) const MESSAGE_INTEGRITY: u16 = 0x0008;
pub(crate) const CHANNEL_NUMBER: u16 = 0x000C;
pub(crate) const LIFETIME: u16 = 0x000D;
pub(crate) const XOR_PEER_ADDRESS: u16 = 0x0012;
pub(crate) const DATA: u16 = 0x0013;
pub(crate) const REALM: u16 = 0x0014;
pub(crate) const NONCE: u16 = 0x0015;
pub(crate) const REQUESTED_ADDRESS_FAMILY: u16 = 0x0017;
pub(crate) const EVEN_PORT: u16 = 0x0018;
pub(crate) const REQUESTED_TRANSPORT: u16 = 0x0019;
pub(crate) const DONT_FRAGMENT: u16 = 0x001A;
pub(crate) const MESSAGE_INTEGRITY_SHA256: u16 = 0x001C;
pub(crate) const PASSWORD_ALGORITHM: u16 = 0x001D;
pub(crate) const XOR_MAPPED_ADDRESS: u16 = 0x0020;
pub(crate) const RESERVATION_TOKEN: u16 = 0x0022;
pub(crate) const ADDITIONAL_ADDRESS_FAMILY: u16 = 0x8000;
pub(crate) const ADDRESS_ERROR_CODE: u16 = 0x8001;
pub(crate) const PASSWORD_ALGORITHMS: u16 = 0x8002;
pub(crate) const ICMP: u16 = 0x8004;
pub(crate) const FINGERPRINT: u16 = 0x8028;

/// Known to this server, though not every method expects each: what a method does not expect is ignored.
const KNOWN: &[u16] = &[
    0x0001, // MAPPED-ADDRESS
    USERNAME,
    MESSAGE_INTEGRITY,
    0x0009, // ERROR-CODE
    0x000A, // UNKNOWN-ATTRIBUTES
    CHANNEL_NUMBER,
    LIFETIME,
    XOR_PEER_ADDRESS,
    DATA,
    REALM,
    NONCE,
    0x0016, // XOR-RELAYED-ADDRESS
    REQUESTED_ADDRESS_FAMILY,
    EVEN_PORT,
    REQUESTED_TRANSPORT,
    DONT_FRAGMENT,
    MESSAGE_INTEGRITY_SHA256,
    PASSWORD_ALGORITHM,
    XOR_MAPPED_ADDRESS,
    RESERVATION_TOKEN,
];

/// Whether a type is in the comprehension-required range and unknown (RFC 8489 §14).
pub(crate) fn must_be_understood(kind: u16) -> bool {
    kind < 0x8000 && !KNOWN.contains(&kind)
}

/// Reads the value of an XOR-...-ADDRESS attribute (RFC 8489 §14.2). `None` when its length or family is wrong.
pub(crate) fn read_xor_address(value: &[u8], transaction_id: &TransactionId) -> Option<SocketAddr> {
    let (head, address) = value.split_first_chunk::<4>()?;
    let port = u16::from_be_bytes([head[2], head[3]]) ^ (MAGIC_COOKIE >> 16) as u16;
    let ip = match (head[1], address.len()) {
        (0x01, 4) => IpAddr::from(xored::<4>(address.try_into().ok()?, transaction_id)),
        (0x02, 16) => IpAddr::from(xored::<16>(address.try_into().ok()?, transaction_id)),
        _ => return None,
    };
    Some(SocketAddr::new(ip, port))
}

/// Writes the value of an XOR-...-ADDRESS attribute: 8 bytes for IPv4, 20 for IPv6.
pub(crate) fn write_xor_address(
    address: SocketAddr,
    transaction_id: &TransactionId,
    mut write: impl FnMut(&[u8]),
) {
    let port = (address.port() ^ (MAGIC_COOKIE >> 16) as u16).to_be_bytes();
    match address.ip() {
        IpAddr::V4(ip) => {
            write(&[0, 0x01, port[0], port[1]]);
            write(&xored(ip.octets(), transaction_id));
        }
        IpAddr::V6(ip) => {
            write(&[0, 0x02, port[0], port[1]]);
            write(&xored(ip.octets(), transaction_id));
        }
    }
}

fn xored<const N: usize>(mut address: [u8; N], transaction_id: &TransactionId) -> [u8; N] {
    let pad = MAGIC_COOKIE.to_be_bytes().into_iter().chain(*transaction_id);
    address.iter_mut().zip(pad).for_each(|(byte, pad)| *byte ^= pad);
    address
}
