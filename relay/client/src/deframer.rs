use crate::{HEADER_LEN, MAGIC_COOKIE, Malformed, channel_data};

/// Cuts the messages out of a TCP or TLS stream (RFC 8489 §6.2.2, RFC 8656 §12.5).
#[derive(Debug, Default)]
pub struct Deframer {
    buffer: Vec<u8>,
    start: usize,
}

impl Deframer {
    /// Takes bytes of the stream.
    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.drain(..self.start);
        self.start = 0;
        self.buffer.extend(bytes);
    }

    /// The next whole message, ChannelData without its padding. `None` when more bytes are needed.
    ///
    /// # Errors
    /// [`Malformed`] when the stream cannot be cut any further.
    pub fn next_message(&mut self) -> Result<Option<&[u8]>, Malformed> {
        let rest = &self.buffer[self.start..];
        let Some(head) = rest.first_chunk::<4>() else { return Ok(None) };
        let length = usize::from(u16::from_be_bytes([head[2], head[3]]));
        let (message, framed) = match head[0] >> 6 {
            0 if rest.get(4..8).is_some_and(|cookie| cookie != MAGIC_COOKIE) => {
                return Err(Malformed::Cookie);
            }
            0 if length.is_multiple_of(4) => (HEADER_LEN + length, HEADER_LEN + length),
            0 => return Err(Malformed::Length),
            1 => {
                let message = channel_data::HEADER_LEN + length;
                (message, message.next_multiple_of(4))
            }
            _ => return Err(Malformed::Framing),
        };
        if rest.len() < framed {
            return Ok(None);
        }
        let start = self.start;
        self.start += framed;
        Ok(Some(&self.buffer[start..start + message]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Writer, method};

    #[test]
    fn a_stream_cut_anywhere_gives_the_same_messages() {
        let binding = Writer::request(method::BINDING).finish();
        let messages = [
            binding.clone(),
            channel_data::encode(0x4000, b"five!"),
            channel_data::encode(0x4FFF, b""),
            binding,
            channel_data::encode(0x4001, b"four"),
        ];
        let mut stream = Vec::new();
        for message in &messages {
            stream.extend(message);
            stream.resize(stream.len().next_multiple_of(4), 0);
        }
        for cut in 0..=stream.len() {
            let mut deframer = Deframer::default();
            let mut found = Vec::new();
            for part in [&stream[..cut], &stream[cut..]] {
                deframer.push(part);
                while let Some(message) = deframer.next_message().unwrap() {
                    found.push(message.to_vec());
                }
            }
            assert_eq!(found, messages, "cut at {cut}");
        }
    }

    #[test]
    fn what_cannot_be_cut_is_an_error() {
        for (bytes, error) in [
            (&[0x80, 0, 0, 0][..], Malformed::Framing),
            (&[0, 1, 0, 2], Malformed::Length),
            (&[21, 3, 1, 0, 2, 2, 70, 0], Malformed::Cookie),
        ] {
            let mut deframer = Deframer::default();
            deframer.push(bytes);
            assert_eq!(deframer.next_message(), Err(error));
        }
    }
}
