//! The beginning of a message whose end has not come.

use turnpike_proto::{Frame, MAX_FRAME, next_frame};

/// A buffer that grew beyond this for a rare long message is not kept.
const KEPT_CAPACITY: usize = 16 << 10;

/// What was received of a message. Each of its bytes is copied at most twice, in however many pieces it comes.
#[derive(Debug, Default)]
pub(super) struct Rest {
    bytes: Vec<u8>,
    /// At so many bytes it is looked at again.
    needed: usize,
}

/// What a piece of a stream gives.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Piece {
    /// The buffer holds so many bytes that begin with a message, or with what is none.
    Whole(usize),
    /// More has to come.
    Partial,
}

impl Rest {
    /// Where the next piece of the stream has to be put into a buffer that it is then joined in.
    pub(super) fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Takes a piece of `len` bytes that stands behind [`Self::len`] bytes of room in `buffer`.
    pub(super) fn join(&mut self, buffer: &mut [u8], len: usize) -> Piece {
        let start = self.bytes.len();
        let end = start + len;
        if start > 0 && end < self.needed {
            self.bytes.extend_from_slice(&buffer[start..end]);
            return Piece::Partial;
        }
        buffer[..start].copy_from_slice(&self.bytes);
        self.bytes.clear();
        self.bytes.shrink_to(KEPT_CAPACITY);
        Piece::Whole(end)
    }

    /// Keeps the beginning of a message that may have `longest` bytes; false when it has more.
    pub(super) fn keep(&mut self, bytes: &[u8], needed: usize, longest: usize) -> bool {
        debug_assert!(self.bytes.is_empty() && matches!(next_frame(bytes), Frame::Partial(_)));
        // The cookie is looked at as soon as it is there, not only when the length that stands before it has come.
        self.needed = if bytes.len() < 8 { needed.min(8) } else { needed };
        self.bytes.extend_from_slice(bytes);
        needed <= longest
    }
}

const _: () = assert!(MAX_FRAME <= crate::io::Inbox::CAPACITY, "a whole message fits a slot");

#[cfg(test)]
mod tests {
    use super::*;

    /// Feeds a stream in pieces and gives the messages found in it.
    fn messages(stream: &[u8], pieces: impl Iterator<Item = usize>) -> Option<Vec<Vec<u8>>> {
        let (mut rest, mut found, mut buffer) = (Rest::default(), Vec::new(), vec![0xAA; 100_000]);
        let mut stream = stream;
        for len in pieces {
            let (piece, after) = stream.split_at(len.min(stream.len()));
            stream = after;
            let start = rest.len();
            buffer[start..start + piece.len()].copy_from_slice(piece);
            let Piece::Whole(end) = rest.join(&mut buffer, piece.len()) else { continue };
            let mut bytes = &buffer[..end];
            loop {
                match next_frame(bytes) {
                    Frame::Whole(len) => {
                        found.push(bytes[..len].to_vec());
                        bytes = &bytes[len..];
                    }
                    Frame::Partial(needed) => {
                        assert!(rest.keep(bytes, needed, MAX_FRAME));
                        break;
                    }
                    Frame::Invalid => return None,
                }
            }
        }
        assert!(stream.is_empty());
        Some(found)
    }

    fn channel_data(len: u16) -> Vec<u8> {
        let mut bytes = vec![0x40, 1];
        bytes.extend(len.to_be_bytes());
        bytes.extend((0..len).map(|nth| nth as u8));
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes
    }

    #[test]
    fn every_size_of_pieces_gives_the_same_messages() {
        let mut binding = vec![0, 1, 0, 0, 0x21, 0x12, 0xA4, 0x42];
        binding.resize(20, 9);
        let expected = [binding.clone(), channel_data(0), channel_data(65_535), binding, channel_data(5)];
        let stream = expected.concat();
        for len in (1..40).chain([1_000, 16_384, 65_536]) {
            let found = messages(&stream, std::iter::repeat_n(len, stream.len().div_ceil(len)));
            assert_eq!(found.unwrap(), expected, "in pieces of {len}");
        }
    }

    #[test]
    fn a_wrong_cookie_is_seen_before_the_length_that_it_claims_has_come() {
        let mut stream = vec![0, 1, 0xFF, 0xFC, 0x21, 0x12, 0xA4, 0x43];
        stream.resize(100, 0);
        assert_eq!(messages(&stream[..8], std::iter::repeat_n(1, 8)), None);
    }
}
