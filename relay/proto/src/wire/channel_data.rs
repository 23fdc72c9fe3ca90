//! ChannelData (RFC 8656 §12.4).

use std::ops::Range;

use super::padded;
use crate::{DropReason, Header, Transport};

pub(crate) const HEADER_LEN: usize = 4;

/// Reads the channel number and finds the payload. Bytes behind it are padding and ignored (RFC 8656 §12.6).
pub(crate) fn parse(datagram: &[u8]) -> Result<(u16, Range<usize>), DropReason> {
    let header: &[u8; HEADER_LEN] = datagram.first_chunk().ok_or(DropReason::Malformed)?;
    let end = HEADER_LEN + usize::from(u16::from_be_bytes([header[2], header[3]]));
    match end <= datagram.len() {
        true => Ok((u16::from_be_bytes([header[0], header[1]]), HEADER_LEN..end)),
        false => Err(DropReason::ChannelLength),
    }
}

/// The header in front of `len` bytes of payload; `None` when they do not fit its length field.
pub(crate) fn header(number: u16, len: usize) -> Option<Header> {
    let len = u16::try_from(len).ok()?;
    let mut header = Header::new();
    header.push(&number.to_be_bytes());
    header.push(&len.to_be_bytes());
    Some(header)
}

/// Zero bytes behind a payload: streams are padded to four bytes, datagrams need not be (RFC 8656 §12.5).
pub(crate) fn padding(transport: Transport, len: usize) -> u8 {
    match transport {
        Transport::Udp => 0,
        Transport::Tcp | Transport::Tls => (padded(len) - len) as u8,
    }
}
