//! How a payload is wrapped between a client and its server.

use std::{net::SocketAddr, ops::Range};

use serde::{Deserialize, Serialize};
use turnpike_turn_client::{HEADER_LEN, Writer, attribute, channel_data, method};

/// The channel of every client's only peer.
pub const CHANNEL: u16 = 0x4000;

/// How a payload is wrapped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Framing {
    /// ChannelData both ways.
    Channel,
    /// Send and Data indications.
    Indication,
    /// Nothing around it: a bare forwarder.
    Bare,
}

/// A client's message with room for a payload.
#[derive(Debug, Clone)]
pub struct Frame {
    /// The whole message.
    pub bytes: Vec<u8>,
    /// Where its payload is.
    pub payload: Range<usize>,
}

impl Framing {
    /// A message to `peer` with a payload of this length.
    pub fn frame(self, peer: SocketAddr, payload: usize) -> Frame {
        let blank = vec![0xA5; payload];
        let (bytes, start) = match self {
            Self::Bare => (blank, 0),
            Self::Channel => (channel_data::encode(CHANNEL, &blank), channel_data::HEADER_LEN),
            Self::Indication => {
                let head = Writer::indication(method::SEND).peer(peer);
                let start = head.bytes().len() + 4;
                (head.data(&blank).finish(), start)
            }
        };
        Frame { bytes, payload: start..start + payload }
    }

    /// Where the payload of a message from the server is; `None` when it has none.
    pub fn payload(self, message: &[u8]) -> Option<Range<usize>> {
        match self {
            Self::Bare => Some(0..message.len()),
            Self::Channel => {
                let (number, payload) = channel_data::decode(message)?;
                (number == CHANNEL).then_some(4..4 + payload.len())
            }
            Self::Indication => data_of(message),
        }
    }
}

/// DATA of a Data indication.
fn data_of(message: &[u8]) -> Option<Range<usize>> {
    if message.get(..2) != Some(&[0x00, 0x17][..]) {
        return None;
    }
    let mut at = HEADER_LEN;
    while let Some(head) = message.get(at..at + 4) {
        let length = usize::from(u16::from_be_bytes([head[2], head[3]]));
        let value = at + 4..at + 4 + length;
        if u16::from_be_bytes([head[0], head[1]]) == attribute::DATA {
            return (value.end <= message.len()).then_some(value);
        }
        at = value.end.next_multiple_of(4);
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_payload_of_every_framing_is_where_it_says() {
        let peer = "127.0.0.2:5000".parse().unwrap();
        for framing in [Framing::Channel, Framing::Indication, Framing::Bare] {
            for length in [16, 17, 1000] {
                let Frame { bytes, payload } = framing.frame(peer, length);
                assert_eq!(bytes[payload.clone()], vec![0xA5; length]);
                assert!(bytes.len() >= payload.end);
                if framing != Framing::Indication {
                    assert_eq!(framing.payload(&bytes), Some(payload));
                }
            }
        }
    }

    #[test]
    fn data_is_found_behind_other_attributes_and_never_past_the_end() {
        let data = Writer::indication(method::DATA)
            .peer("127.0.0.2:5000".parse().unwrap())
            .attribute(0x8022, b"odd")
            .data(b"payload")
            .finish();
        let found = Framing::Indication.payload(&data).unwrap();
        assert_eq!(&data[found.clone()], b"payload");
        assert_eq!(Framing::Indication.payload(&data[..found.end - 1]), None);
        assert_eq!(Framing::Indication.payload(&Writer::indication(method::SEND).data(b"x").finish()), None);
        assert_eq!(Framing::Channel.payload(&data), None);
    }
}
