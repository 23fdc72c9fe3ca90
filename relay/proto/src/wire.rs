//! The bytes: what is checked before anything is believed, and the only place that uses the `stun` and `turn` codecs.

pub(crate) mod attribute;
pub(crate) mod channel_data;
mod indication;
mod integrity;
mod request;
mod response;
pub(crate) mod stream;

pub(crate) use indication::{Send, data_indication, icmp_indication};
pub(crate) use integrity::Mac;
pub(crate) use request::Request;
pub(crate) use response::{Response, binding_success};

use crate::{DropReason, RequestMethod};

pub(crate) const HEADER_LEN: usize = 20;
pub(crate) const MAGIC_COOKIE: u32 = 0x2112_A442;
const FINGERPRINT_XOR: u32 = 0x5354_554E;

pub(crate) type TransactionId = [u8; 12];

/// The 12 bits of a STUN method that is served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Method {
    Binding,
    Allocate,
    Refresh,
    Send,
    CreatePermission,
    ChannelBind,
}

impl Method {
    /// As requests are counted; Send is none.
    pub(crate) fn of_requests(self) -> Option<RequestMethod> {
        match self {
            Self::Binding => Some(RequestMethod::Binding),
            Self::Allocate => Some(RequestMethod::Allocate),
            Self::Refresh => Some(RequestMethod::Refresh),
            Self::Send => None,
            Self::CreatePermission => Some(RequestMethod::CreatePermission),
            Self::ChannelBind => Some(RequestMethod::ChannelBind),
        }
    }
}

/// A message whose header is in order (RFC 8489 §5, §6.3).
#[derive(Debug, Clone, Copy)]
pub(crate) struct Message<'a> {
    pub(crate) method: Method,
    pub(crate) transaction_id: TransactionId,
    bytes: &'a [u8],
}

impl<'a> Message<'a> {
    /// Reads the header of a datagram that holds one message and nothing else.
    ///
    /// Only requests, and of indications only Send, get through: a server has no use for the rest (RFC 8656 §17).
    pub(crate) fn parse(datagram: &'a [u8]) -> Result<Self, DropReason> {
        let header: &[u8; HEADER_LEN] = datagram.first_chunk().ok_or(DropReason::Malformed)?;
        let kind = u16::from_be_bytes([header[0], header[1]]);
        let length = usize::from(u16::from_be_bytes([header[2], header[3]]));
        let cookie = u32::from_be_bytes([header[4], header[5], header[6], header[7]]);
        let aligned = length.is_multiple_of(4) && length + HEADER_LEN == datagram.len();
        if kind >> 14 != 0 || cookie != MAGIC_COOKIE || !aligned {
            return Err(DropReason::Malformed);
        }
        let mut transaction_id = [0; 12];
        transaction_id.copy_from_slice(&header[8..]);
        Ok(Self { method: method_of(kind)?, transaction_id, bytes: datagram })
    }

    /// Walks the attributes, checks their bounds and FINGERPRINT, and finds where what is believed ends.
    pub(crate) fn scan(&self) -> Result<Scan, DropReason> {
        let mut scan =
            Scan { integrity: None, integrity_sha256: None, end: self.bytes.len(), unknown: Vec::new() };
        let mut offset = HEADER_LEN;
        while offset < self.bytes.len() {
            let (kind, value) = attribute_at(self.bytes, offset).ok_or(DropReason::Malformed)?;
            let next = offset + 4 + padded(value.len());
            if next > self.bytes.len() {
                return Err(DropReason::Malformed);
            }
            match kind {
                attribute::FINGERPRINT => {
                    let sum = crc32fast::hash(&self.bytes[..offset]) ^ FINGERPRINT_XOR;
                    if next != self.bytes.len() || value != sum.to_be_bytes() {
                        return Err(DropReason::Fingerprint);
                    }
                    scan.end = scan.end.min(offset);
                }
                _ if scan.integrity_sha256.is_some() => {}
                attribute::MESSAGE_INTEGRITY_SHA256 => {
                    scan.integrity_sha256 = Some(offset);
                    scan.end = if scan.integrity.is_some() { scan.end } else { next };
                }
                _ if scan.integrity.is_some() => {}
                attribute::MESSAGE_INTEGRITY => {
                    scan.integrity = Some(offset);
                    scan.end = next;
                }
                _ if attribute::must_be_understood(kind) => scan.unknown.push(kind),
                _ => {}
            }
            offset = next;
        }
        Ok(scan)
    }

    /// The attributes in front of `end`, first to last.
    pub(crate) fn attributes(&self, end: usize) -> impl Iterator<Item = (u16, &'a [u8])> {
        let bytes = &self.bytes[..end];
        let mut offset = HEADER_LEN;
        std::iter::from_fn(move || {
            let (kind, value) = attribute_at(bytes, offset)?;
            offset += 4 + padded(value.len());
            Some((kind, value))
        })
    }
}

/// What a walk over the attributes found.
#[derive(Debug)]
pub(crate) struct Scan {
    /// Offset of MESSAGE-INTEGRITY.
    pub(crate) integrity: Option<usize>,
    /// Offset of MESSAGE-INTEGRITY-SHA256, which may stand behind MESSAGE-INTEGRITY.
    pub(crate) integrity_sha256: Option<usize>,
    /// End of what is believed: attributes after the first integrity attribute are ignored (RFC 8489 §14.5, §14.6),
    /// FINGERPRINT is checked already.
    pub(crate) end: usize,
    /// Types that must be understood and are not, in front of the integrity attribute (RFC 8489 §6.3.1).
    pub(crate) unknown: Vec<u16>,
}

fn method_of(kind: u16) -> Result<Method, DropReason> {
    let class = (kind >> 4 & 1) | (kind >> 7 & 2);
    let method = (kind & 0xF) | (kind >> 1 & 0x70) | (kind >> 2 & 0xF80);
    let method = match method {
        0x001 => Method::Binding,
        0x003 => Method::Allocate,
        0x004 => Method::Refresh,
        0x006 => Method::Send,
        0x008 => Method::CreatePermission,
        0x009 => Method::ChannelBind,
        0x007 => return Err(DropReason::WrongClass),
        _ => return Err(DropReason::UnknownMethod),
    };
    match (class, method) {
        (1, Method::Send) => Ok(method),
        (0, Method::Send) => Err(DropReason::WrongClass),
        (0, _) => Ok(method),
        _ => Err(DropReason::WrongClass),
    }
}

fn attribute_at(bytes: &[u8], offset: usize) -> Option<(u16, &[u8])> {
    let rest = bytes.get(offset..)?;
    let header: &[u8; 4] = rest.first_chunk()?;
    let length = usize::from(u16::from_be_bytes([header[2], header[3]]));
    let value = rest.get(4..4 + length)?;
    Some((u16::from_be_bytes([header[0], header[1]]), value))
}

/// Attributes are padded to four bytes (RFC 8489 §14).
pub(crate) fn padded(len: usize) -> usize {
    len.next_multiple_of(4)
}
