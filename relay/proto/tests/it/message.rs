//! STUN messages written and read by hand: a second implementation beside the server's.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha1::Sha1;
use sha2::Sha256;

pub const BINDING: u16 = 0x0001;
pub const ALLOCATE: u16 = 0x0003;
pub const REFRESH: u16 = 0x0004;
pub const SEND: u16 = 0x0016;
pub const CREATE_PERMISSION: u16 = 0x0008;
pub const CHANNEL_BIND: u16 = 0x0009;

pub const USERNAME: u16 = 0x0006;
pub const INTEGRITY: u16 = 0x0008;
pub const ERROR_CODE: u16 = 0x0009;
pub const UNKNOWN_ATTRIBUTES: u16 = 0x000A;
pub const CHANNEL_NUMBER: u16 = 0x000C;
pub const LIFETIME: u16 = 0x000D;
pub const XOR_PEER: u16 = 0x0012;
pub const DATA: u16 = 0x0013;
pub const REALM: u16 = 0x0014;
pub const NONCE: u16 = 0x0015;
pub const XOR_RELAYED: u16 = 0x0016;
pub const FAMILY: u16 = 0x0017;
pub const EVEN_PORT: u16 = 0x0018;
pub const TRANSPORT: u16 = 0x0019;
pub const DONT_FRAGMENT: u16 = 0x001A;
pub const INTEGRITY_SHA256: u16 = 0x001C;
pub const ALGORITHM: u16 = 0x001D;
pub const XOR_MAPPED: u16 = 0x0020;
pub const TOKEN: u16 = 0x0022;
pub const SECOND_FAMILY: u16 = 0x8000;
pub const ADDRESS_ERROR: u16 = 0x8001;
pub const ALGORITHMS: u16 = 0x8002;
pub const ICMP: u16 = 0x8004;
pub const SOFTWARE: u16 = 0x8022;
pub const ALTERNATE_SERVER: u16 = 0x8023;
pub const FINGERPRINT: u16 = 0x8028;

const COOKIE: [u8; 4] = [0x21, 0x12, 0xA4, 0x42];

/// A message being written.
#[derive(Clone)]
pub struct Builder {
    pub bytes: Vec<u8>,
}

impl Builder {
    pub fn new(kind: u16, transaction: u8) -> Self {
        let mut bytes = kind.to_be_bytes().to_vec();
        bytes.extend([0, 0]);
        bytes.extend(COOKIE);
        bytes.extend([transaction; 12]);
        Self { bytes }
    }

    pub fn attr(self, kind: u16, value: &[u8]) -> Self {
        self.attr_padded_with(kind, value, 0)
    }

    pub fn attr_padded_with(mut self, kind: u16, value: &[u8], pad: u8) -> Self {
        self.bytes.extend(kind.to_be_bytes());
        self.bytes.extend((value.len() as u16).to_be_bytes());
        self.bytes.extend(value);
        self.bytes.resize(self.bytes.len().next_multiple_of(4), pad);
        self.set_length(0);
        self
    }

    pub fn u32(self, kind: u16, value: u32) -> Self {
        self.attr(kind, &value.to_be_bytes())
    }

    pub fn udp(self) -> Self {
        self.attr(TRANSPORT, &[17, 0, 0, 0])
    }

    pub fn peer(self, peer: SocketAddr) -> Self {
        let value = xor(peer, &self.bytes[8..20]);
        self.attr(XOR_PEER, &value)
    }

    pub fn channel(self, number: u16) -> Self {
        let n = number.to_be_bytes();
        self.attr(CHANNEL_NUMBER, &[n[0], n[1], 0, 0])
    }

    pub fn integrity(mut self, key: &[u8]) -> Self {
        self.set_length(24);
        let tag = hmac(key, &self.bytes);
        self.set_length(0);
        self.attr(INTEGRITY, &tag)
    }

    pub fn integrity_sha256(mut self, key: &[u8]) -> Self {
        self.set_length(36);
        let tag = hmac_sha256(key, &self.bytes);
        self.set_length(0);
        self.attr(INTEGRITY_SHA256, &tag)
    }

    pub fn fingerprint(mut self) -> Self {
        self.set_length(8);
        let sum = crc32fast::hash(&self.bytes) ^ 0x5354_554E;
        self.set_length(0);
        self.u32(FINGERPRINT, sum)
    }

    fn set_length(&mut self, more: usize) {
        let length = (self.bytes.len() - 20 + more) as u16;
        self.bytes[2..4].copy_from_slice(&length.to_be_bytes());
    }
}

pub fn channel_data(number: u16, payload: &[u8]) -> Vec<u8> {
    let mut bytes = number.to_be_bytes().to_vec();
    bytes.extend((payload.len() as u16).to_be_bytes());
    bytes.extend(payload);
    bytes
}

pub fn hmac(key: &[u8], bytes: &[u8]) -> Vec<u8> {
    let mut mac = Hmac::<Sha1>::new_from_slice(key).unwrap();
    mac.update(bytes);
    mac.finalize().into_bytes().to_vec()
}

pub fn hmac_sha256(key: &[u8], bytes: &[u8]) -> Vec<u8> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).unwrap();
    mac.update(bytes);
    mac.finalize().into_bytes().to_vec()
}

fn xor(address: SocketAddr, transaction: &[u8]) -> Vec<u8> {
    let octets = match address.ip() {
        IpAddr::V4(ip) => ip.octets().to_vec(),
        IpAddr::V6(ip) => ip.octets().to_vec(),
    };
    let pad: Vec<u8> = COOKIE.iter().chain(transaction).copied().collect();
    let mut value = vec![0, if address.is_ipv4() { 1 } else { 2 }];
    value.extend((address.port() ^ 0x2112).to_be_bytes());
    value.extend(octets.iter().zip(&pad).map(|(a, b)| a ^ b));
    value
}

/// A message that was read, its layout checked on the way: exact length, zero padding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parsed {
    pub kind: u16,
    pub transaction: Vec<u8>,
    pub attributes: Vec<(u16, Vec<u8>)>,
    pub bytes: Vec<u8>,
}

impl Parsed {
    pub fn read(bytes: &[u8]) -> Self {
        let kind = u16::from_be_bytes([bytes[0], bytes[1]]);
        let length = usize::from(u16::from_be_bytes([bytes[2], bytes[3]]));
        assert_eq!(length + 20, bytes.len(), "the length field is exact");
        assert_eq!(bytes[4..8], COOKIE);
        let mut attributes = Vec::new();
        let mut rest = &bytes[20..];
        while !rest.is_empty() {
            let kind = u16::from_be_bytes([rest[0], rest[1]]);
            let length = usize::from(u16::from_be_bytes([rest[2], rest[3]]));
            attributes.push((kind, rest[4..4 + length].to_vec()));
            let end = 4 + length.next_multiple_of(4);
            assert!(rest[4 + length..end].iter().all(|b| *b == 0), "rule 11: padding that is sent is zero");
            rest = &rest[end..];
        }
        let transaction = bytes[8..20].to_vec();
        Self { kind, transaction, attributes, bytes: bytes.to_vec() }.checked()
    }

    /// Rule 20 holds for every answer that any test sees.
    fn checked(self) -> Self {
        if let Some(value) = self.get(ERROR_CODE) {
            assert_eq!(value[..2], [0, 0]);
            assert!((3..=6).contains(&value[2]) && value[3] < 100);
            let reason = std::str::from_utf8(&value[4..]).unwrap();
            assert!(reason.chars().count() < 128);
        }
        assert_eq!(self.is_error(), self.get(ERROR_CODE).is_some(), "an error response has an ERROR-CODE");
        self
    }

    pub fn is_success(&self) -> bool {
        self.kind & 0x0110 == 0x0100
    }

    pub fn is_error(&self) -> bool {
        self.kind & 0x0110 == 0x0110
    }

    pub fn code(&self) -> u16 {
        let value = self.get(ERROR_CODE).unwrap_or_else(|| panic!("{self:?} is no error"));
        u16::from(value[2]) * 100 + u16::from(value[3])
    }

    pub fn get(&self, kind: u16) -> Option<&[u8]> {
        self.attributes.iter().find(|(k, _)| *k == kind).map(|(_, v)| v.as_slice())
    }

    pub fn u32(&self, kind: u16) -> u32 {
        u32::from_be_bytes(self.get(kind).unwrap().try_into().unwrap())
    }

    pub fn address(&self, kind: u16) -> SocketAddr {
        self.addresses(kind)[0]
    }

    /// Of every attribute of this type, in order.
    pub fn addresses(&self, kind: u16) -> Vec<SocketAddr> {
        let all = self.attributes.iter().filter(|(k, _)| *k == kind);
        all.map(|(_, value)| self.unxored(value)).collect()
    }

    fn unxored(&self, value: &[u8]) -> SocketAddr {
        let pad: Vec<u8> = COOKIE.iter().chain(&self.transaction).copied().collect();
        let octets: Vec<u8> = value[4..].iter().zip(&pad).map(|(a, b)| a ^ b).collect();
        let port = u16::from_be_bytes([value[2], value[3]]) ^ 0x2112;
        let ip = match value[1] {
            1 => Ipv4Addr::from(<[u8; 4]>::try_from(octets).unwrap()).into(),
            _ => Ipv6Addr::from(<[u8; 16]>::try_from(octets).unwrap()).into(),
        };
        SocketAddr::new(ip, port)
    }

    /// Whether MESSAGE-INTEGRITY-SHA256 is there, alone and right.
    pub fn is_signed_with_sha256_by(&self, key: &[u8]) -> bool {
        let Some(tag) = self.get(INTEGRITY_SHA256) else { return false };
        let offset = self.bytes.len() - 36;
        self.get(INTEGRITY).is_none() && hmac_sha256(key, &self.bytes[..offset]) == tag
    }

    /// Whether MESSAGE-INTEGRITY is there and right.
    pub fn is_signed_by(&self, key: &[u8]) -> bool {
        let Some(tag) = self.get(INTEGRITY) else { return false };
        let offset = self.bytes.len() - 24;
        hmac(key, &self.bytes[..offset]) == tag
    }
}
