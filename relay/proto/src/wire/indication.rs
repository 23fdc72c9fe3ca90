//! Send and Data indications (RFC 8656 §11), read and written in place: Firefox never binds channels.

use std::{net::SocketAddr, ops::Range};

use super::{HEADER_LEN, MAGIC_COOKIE, Message, TransactionId, attribute, padded};
use crate::{DropReason, Header, Icmp};

const DATA_INDICATION: u16 = 0x0017;

/// A Send indication taken apart.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Send {
    pub(crate) peer: SocketAddr,
    /// The bytes of DATA within the datagram.
    pub(crate) payload: Range<usize>,
    /// DONT-FRAGMENT is there.
    pub(crate) dont_fragment: bool,
}

impl Send {
    /// Reads XOR-PEER-ADDRESS and DATA; both must be there (RFC 8656 §11.2).
    pub(crate) fn parse(message: &Message<'_>) -> Result<Self, DropReason> {
        let scan = message.scan()?;
        if !scan.unknown.is_empty() {
            return Err(DropReason::UnknownAttribute);
        }
        let mut peer = None;
        let mut payload = None;
        let mut dont_fragment = false;
        let mut offset = HEADER_LEN;
        for (kind, value) in message.attributes(scan.end) {
            match kind {
                attribute::XOR_PEER_ADDRESS if peer.is_none() => {
                    peer = Some(
                        attribute::read_xor_address(value, &message.transaction_id)
                            .ok_or(DropReason::Malformed)?,
                    );
                }
                attribute::DATA if payload.is_none() => payload = Some(offset + 4..offset + 4 + value.len()),
                attribute::DONT_FRAGMENT => dont_fragment = true,
                _ => {}
            }
            offset += 4 + padded(value.len());
        }
        match (peer, payload) {
            (Some(peer), Some(payload)) => Ok(Self { peer, payload, dont_fragment }),
            _ => Err(DropReason::Malformed),
        }
    }
}

/// The bytes of a Data indication in front of `len` bytes of payload, and the padding behind them (RFC 8656 §11.3);
/// `None` when they do not fit the length fields.
pub(crate) fn data_indication(
    peer: SocketAddr,
    transaction_id: &TransactionId,
    len: usize,
) -> Option<(Header, u8)> {
    let data_len = u16::try_from(len).ok()?;
    let mut header = start(peer, transaction_id, 4 + padded(len))?;
    header.push(&attribute::DATA.to_be_bytes());
    header.push(&data_len.to_be_bytes());
    Some((header, (padded(len) - len) as u8))
}

/// A whole Data indication about an ICMP error: 16 reserved bits, 7 of type, 9 of code, 32 of error data
/// (RFC 8656 §11.5, §18.13).
pub(crate) fn icmp_indication(peer: SocketAddr, transaction_id: &TransactionId, icmp: Icmp) -> Header {
    let mut header = start(peer, transaction_id, 12).expect("two short attributes fit the length field");
    let (kind, code) = (u32::from(icmp.kind & 0x7F), u32::from(icmp.code));
    header.push(&attribute::ICMP.to_be_bytes());
    header.push(&8_u16.to_be_bytes());
    header.push(&(kind << 9 | code).to_be_bytes());
    header.push(&icmp.mtu.to_be_bytes());
    header
}

/// The header of a Data indication and its XOR-PEER-ADDRESS; `rest` bytes of attributes follow.
fn start(peer: SocketAddr, transaction_id: &TransactionId, rest: usize) -> Option<Header> {
    let address_len: u16 = if peer.is_ipv4() { 8 } else { 20 };
    let message_len = u16::try_from(4 + usize::from(address_len) + rest).ok()?;
    let mut header = Header::new();
    header.push(&DATA_INDICATION.to_be_bytes());
    header.push(&message_len.to_be_bytes());
    header.push(&MAGIC_COOKIE.to_be_bytes());
    header.push(transaction_id);
    header.push(&attribute::XOR_PEER_ADDRESS.to_be_bytes());
    header.push(&address_len.to_be_bytes());
    attribute::write_xor_address(peer, transaction_id, |bytes| header.push(bytes));
    Some(header)
}
