//! A stream gives the same messages however it is cut, and never asks for more than the longest message.

use turnpike_proto::{Frame, MAX_FRAME, next_frame};

use super::input::Input;

const COOKIE: [u8; 4] = [0x21, 0x12, 0xA4, 0x42];

/// Four bytes say where the stream is cut, again and again; the rest is the stream. Where the first of them is odd, the
/// cookie is put where STUN has it, so that more than one message gets through.
pub fn run(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let repair = input.byte() % 2 == 1;
    let cuts = [(); 3].map(|()| usize::from(input.byte()));
    let mut stream = input.take(usize::MAX).to_vec();
    if repair {
        put_cookies(&mut stream);
    }
    let expected = split(&stream);
    assert_eq!(fed(&stream, &[stream.len()]), expected, "whole");
    if cuts.iter().any(|cut| *cut > 0) {
        assert_eq!(fed(&stream, &cuts), expected, "cut at {cuts:?}");
    }
}

/// What comes out of a stream: whole messages, then what is left, and whether it is beyond repair.
#[derive(Debug, PartialEq, Eq)]
struct Split {
    messages: Vec<Vec<u8>>,
    left: Vec<u8>,
    invalid: bool,
}

/// Feeds the stream in parts of these lengths, which repeat, as a reader of a socket does.
fn fed(stream: &[u8], lengths: &[usize]) -> Split {
    let mut lengths = lengths.iter().cycle();
    let (mut rest, mut buffer, mut messages) = (stream, Vec::new(), Vec::new());
    loop {
        match next_frame(&buffer) {
            Frame::Whole(len) => {
                assert!(len >= 4 && len.is_multiple_of(4) && len <= MAX_FRAME);
                messages.push(buffer.drain(..len).collect());
                continue;
            }
            Frame::Partial(needed) => {
                assert!(needed > buffer.len(), "it makes progress");
                assert!(needed <= MAX_FRAME, "what it asks for is bounded");
            }
            Frame::Invalid => {
                buffer.extend_from_slice(rest);
                return Split { messages, left: buffer, invalid: true };
            }
        }
        if rest.is_empty() {
            return Split { messages, left: buffer, invalid: false };
        }
        let length = *lengths.next().expect("a cycle does not end");
        let (part, later) = rest.split_at(length.min(rest.len()));
        buffer.extend_from_slice(part);
        rest = later;
    }
}

/// RFC 8489 §6.2.2 and RFC 8656 §12.5, for a stream that is wholly there.
fn split(stream: &[u8]) -> Split {
    let (mut left, mut messages) = (stream, Vec::new());
    loop {
        let first = left.first().map(|byte| byte >> 6);
        let is_stun = left.first().is_some_and(|byte| *byte < 4);
        let length = left.get(2..4).map(|field| usize::from(field[0]) << 8 | usize::from(field[1]));
        let cookie_differs = left.get(4..8).is_some_and(|cookie| cookie != COOKIE);
        let invalid = match (first, is_stun) {
            (None | Some(1), _) => false,
            (_, true) => length.is_some_and(|length| length % 4 != 0) || cookie_differs,
            _ => true,
        };
        let whole = length.map(|length| match is_stun {
            true => 20 + length,
            false => 4 + length.div_ceil(4) * 4,
        });
        match whole.filter(|whole| !invalid && *whole <= left.len()) {
            Some(whole) => {
                messages.push(left[..whole].to_vec());
                left = &left[whole..];
            }
            None => return Split { messages, left: left.to_vec(), invalid },
        }
    }
}

fn put_cookies(stream: &mut [u8]) {
    let mut at = 0;
    while let Some(message) = stream.get_mut(at..).filter(|rest| rest.len() >= 8) {
        let length = usize::from(message[2]) << 8 | usize::from(message[3]);
        match message[0] {
            0..=3 => {
                message[4..8].copy_from_slice(&COOKIE);
                at += 20 + length;
            }
            _ => at += 4 + length.div_ceil(4) * 4,
        }
    }
}
