//! What one connection has to write and the kernel has not taken: whole messages, of which the oldest give way, behind
//! the rest of the one that was begun.

use std::{collections::VecDeque, io::IoSlice};

use crate::io::Datagram;

/// Bytes that may wait for one client: half a second of video at 4 Mbit/s.
pub(super) const CAPACITY: usize = 256 << 10;

/// Messages that wait. An empty queue holds no memory.
#[derive(Debug, Default)]
pub(super) struct Queue {
    /// A message of which some is written: it has to be finished, or the stream is broken.
    begun: Vec<u8>,
    written: usize,
    bytes: VecDeque<u8>,
    lengths: VecDeque<usize>,
}

impl Queue {
    pub(super) fn is_empty(&self) -> bool {
        self.begun.is_empty() && self.lengths.is_empty()
    }

    /// Messages that wait, the begun one included.
    pub(super) fn messages(&self) -> usize {
        self.lengths.len() + usize::from(!self.begun.is_empty())
    }

    /// Appends a message of which the first `written` bytes are written, and gives how many older ones had to go.
    pub(super) fn push(&mut self, message: &Datagram<'_>, written: usize) -> usize {
        let (len, mut dropped) = (message.len(), 0);
        while self.begun.len() - self.written + self.bytes.len() + len > CAPACITY {
            let Some(oldest) = self.lengths.pop_front() else { break };
            self.bytes.drain(..oldest);
            dropped += 1;
        }
        if written > 0 {
            debug_assert!(self.is_empty(), "only the first message can be begun");
            self.begun.extend(message.parts().into_iter().flatten().copied());
            self.written = written;
        } else {
            message.parts().into_iter().for_each(|part| self.bytes.extend(part));
            self.lengths.push_back(len);
        }
        dropped
    }

    /// The begun message and as many whole ones as fit in `most` bytes, but at least one.
    pub(super) fn front(&self, most: usize) -> [IoSlice<'_>; 3] {
        let begun = &self.begun[self.written..];
        let mut len = 0;
        for next in &self.lengths {
            let is_first = begun.is_empty() && len == 0;
            if begun.len() + len + next > most && !is_first {
                break;
            }
            len += next;
        }
        let (front, back) = self.bytes.as_slices();
        let (front, len) = (&front[..len.min(front.len())], len - len.min(front.len()));
        [begun, front, &back[..len]].map(IoSlice::new)
    }

    /// Removes `taken` bytes that were written.
    pub(super) fn advance(&mut self, mut taken: usize) {
        if !self.begun.is_empty() {
            let of_begun = taken.min(self.begun.len() - self.written);
            self.written += of_begun;
            taken -= of_begun;
            if self.written < self.begun.len() {
                return;
            }
            self.begun.clear();
            self.written = 0;
        }
        while let Some(next) = self.lengths.front().copied().filter(|_| taken > 0) {
            self.lengths.pop_front();
            let message = self.bytes.drain(..next);
            if taken < next {
                self.begun.extend(message);
                self.written = taken;
                return;
            }
            drop(message);
            taken -= next;
        }
        if self.is_empty() {
            *self = Self::default();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::*;

    fn message(payload: &[u8]) -> Datagram<'_> {
        let nowhere = SocketAddr::from(([0, 0, 0, 0], 0));
        Datagram { to: nowhere, from: None, header: b"head", payload, pad: 0 }
    }

    fn all(queue: &Queue) -> Vec<u8> {
        queue.front(usize::MAX).iter().flat_map(|part| part.to_vec()).collect()
    }

    #[test]
    fn what_is_pushed_comes_out_in_order_however_it_is_taken() {
        for step in [1, 3, 7, 1_000] {
            let (mut queue, mut out, mut expected) = (Queue::default(), Vec::new(), Vec::new());
            for nth in 0..50_u8 {
                let payload = vec![nth; usize::from(nth)];
                assert_eq!(queue.push(&message(&payload), 0), 0);
                expected.extend([b"head", &payload[..]].concat());
                for _ in 0..4 {
                    let front = all(&queue);
                    let taken = step.min(front.len());
                    out.extend(&front[..taken]);
                    queue.advance(taken);
                }
            }
            out.extend(all(&queue));
            queue.advance(out.len());
            assert_eq!(out, expected, "in steps of {step}");
            assert!(queue.is_empty() && queue.bytes.capacity() == 0);
        }
    }

    #[test]
    fn the_oldest_whole_messages_give_way_and_the_begun_one_never_does() {
        let mut queue = Queue::default();
        assert_eq!(queue.push(&message(&[1; 996]), 10), 0);
        let mut dropped = 0;
        for nth in 0..400_u32 {
            dropped += queue.push(&message(&[&nth.to_be_bytes()[..], &[0; 992]].concat()), 0);
            assert!(queue.messages() * 1_000 - 10 <= CAPACITY);
        }
        assert_eq!(queue.messages() + dropped, 401);
        let left = all(&queue);
        assert!(left.starts_with(&[1; 990]) && left[990..].starts_with(b"head"));
        assert_eq!(left[994..998], (dropped as u32).to_be_bytes());
        assert!(left.ends_with(&[&399_u32.to_be_bytes()[..], &[0; 992]].concat()));
    }

    #[test]
    fn a_message_that_was_begun_while_it_waited_is_finished_too() {
        let mut queue = Queue::default();
        (0..300)
            .for_each(|nth| assert_eq!(queue.push(&message(&[nth as u8; 996]), 0), usize::from(nth >= 262)));
        let first = all(&queue)[..1_000].to_vec();
        queue.advance(500);
        (0..600).for_each(|_| assert!(queue.push(&message(&[7; 996]), 0) <= 1));
        assert_eq!(all(&queue)[..500], first[500..]);
        assert_eq!(all(&queue)[500..504], *b"head");
    }

    #[test]
    fn the_front_is_whole_messages_up_to_a_limit_and_one_at_least() {
        let mut queue = Queue::default();
        (0..10).for_each(|_| assert_eq!(queue.push(&message(&[7; 996]), 0), 0));
        let len = |most| queue.front(most).iter().map(|part| part.len()).sum::<usize>();
        assert_eq!(
            [0, 999, 1_000, 1_999, 2_500, 99_999].map(len),
            [1_000, 1_000, 1_000, 1_000, 2_000, 10_000]
        );
    }
}
