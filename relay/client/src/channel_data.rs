//! ChannelData (RFC 8656 §12.4).

/// Bytes before the payload.
pub const HEADER_LEN: usize = 4;

/// A ChannelData message as UDP carries it, unpadded.
pub fn encode(number: u16, payload: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(HEADER_LEN + payload.len());
    encode_into(&mut bytes, number, payload);
    bytes
}

/// The same in the memory of an older message.
pub fn encode_into(bytes: &mut Vec<u8>, number: u16, payload: &[u8]) {
    let length = u16::try_from(payload.len()).expect("a payload is at most 65535 bytes");
    bytes.clear();
    bytes.extend(number.to_be_bytes());
    bytes.extend(length.to_be_bytes());
    bytes.extend(payload);
}

/// Channel number and payload. `None` when this is no ChannelData, or its length is more than what is there.
pub fn decode(bytes: &[u8]) -> Option<(u16, &[u8])> {
    let (head, rest) = bytes.split_first_chunk::<HEADER_LEN>()?;
    let number = u16::from_be_bytes([head[0], head[1]]);
    let length = usize::from(u16::from_be_bytes([head[2], head[3]]));
    (head[0] >> 6 == 1).then_some(())?;
    Some((number, rest.get(..length)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn payloads_of_any_length_are_written_and_read() {
        for payload in [&b""[..], b"x", b"four", b"five!"] {
            let mut bytes = encode(0x4001, payload);
            assert_eq!(decode(&bytes), Some((0x4001, payload)));
            bytes.extend([0, 0]);
            assert_eq!(decode(&bytes), Some((0x4001, payload)), "padding is not payload");
        }
        assert_eq!(decode(&[0x40, 0, 0, 1]), None);
        assert_eq!(decode(&[0x00, 1, 0, 0]), None);
        assert_eq!(decode(&[0x40, 0, 0]), None);
    }
}
