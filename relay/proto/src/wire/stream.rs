//! Messages in a stream: TCP and TLS carry STUN messages and padded ChannelData back to back
//! (RFC 8489 §6.2.2, RFC 8656 §12.5).

use super::{HEADER_LEN, MAGIC_COOKIE, channel_data, padded};

/// The longest message that a stream may carry, in bytes: a STUN message whose length field holds its most.
pub const MAX_FRAME: usize = HEADER_LEN + 65_532;

/// What stands at the beginning of a stream's buffer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Frame {
    /// A whole message of so many bytes, padding included: give them to [`crate::Server::handle_client`].
    Whole(usize),
    /// Not yet: the buffer must grow to at least so many bytes.
    Partial(usize),
    /// Neither STUN nor ChannelData: where the next message begins cannot be known, so the connection is closed.
    Invalid,
}

/// Finds the first message of a buffer.
pub fn next_frame(buffer: &[u8]) -> Frame {
    let Some(head) = buffer.first_chunk::<4>() else {
        return match buffer.first() {
            Some(4..=63 | 128..) => Frame::Invalid,
            _ => Frame::Partial(4),
        };
    };
    let length = usize::from(u16::from_be_bytes([head[2], head[3]]));
    let whole = match head[0] {
        0..=3 if length.is_multiple_of(4) => HEADER_LEN + length,
        // Numbers above 0x4FFF are framed too: it is the server who drops them (RFC 8656 §12).
        64..=127 => channel_data::HEADER_LEN + padded(length),
        _ => return Frame::Invalid,
    };
    let cookie = buffer.get(4..8).filter(|_| head[0] <= 3);
    if cookie.is_some_and(|cookie| cookie != MAGIC_COOKIE.to_be_bytes()) {
        return Frame::Invalid;
    }
    match whole <= buffer.len() {
        true => Frame::Whole(whole),
        false => Frame::Partial(whole),
    }
}
