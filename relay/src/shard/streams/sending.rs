//! Writing: what the kernel does not take waits in the connection's queue.

use std::io::{self, IoSlice};

use turnpike_proto::{DropReason, Server};

use super::{
    channel::{Channel, OFFERED},
    stream::Stream,
};
use crate::shard::outbox::Group;

/// Messages of one write.
const MESSAGES: usize = 64;
/// What a TLS record adds to a message, and a little more.
const RECORD: usize = 32;

impl Stream {
    /// Writes messages as far as the kernel takes them; the others wait, or go.
    pub(super) fn send(&mut self, messages: &Group<'_>, server: &mut Server) {
        let mut next = 0;
        while next < messages.len() && !self.is_waiting() && !self.broken {
            next = match self.channel.is_secure() {
                true => self.encrypt_some(messages, next),
                false => self.write_some(messages, next, server),
            };
        }
        for place in next..messages.len() {
            match self.broken {
                true => server.dropped(DropReason::SendFailed),
                false => self.wait_with(messages, place, 0, server),
            }
        }
        self.count_bytes(server);
    }

    /// Writes what waits as far as the kernel takes it.
    pub(super) fn send_waiting(&mut self, server: &mut Server) {
        self.broken |= self.channel.flush().is_err();
        let mut is_taken = true;
        while is_taken && !self.queue.is_empty() && !self.channel.is_blocked() && !self.broken {
            match self.channel.is_secure() {
                true => self.encrypt_waiting(),
                false => is_taken = self.write_waiting(),
            }
        }
        self.count_bytes(server);
    }

    /// Whether anything waits until the kernel takes more.
    pub(super) fn is_waiting(&self) -> bool {
        !self.queue.is_empty() || self.channel.is_blocked()
    }

    /// Writes messages from `first` on, and gives the first one that is neither written nor waits.
    fn write_some(&mut self, messages: &Group<'_>, first: usize, server: &mut Server) -> usize {
        let mut slices = [IoSlice::new(&[]); 3 * MESSAGES];
        let (mut count, mut offered) = (0, 0);
        for place in first..messages.len().min(first + MESSAGES) {
            let message = messages.datagram(place);
            if offered > 0 && offered + message.len() > OFFERED {
                break;
            }
            offered += message.len();
            for part in message.parts() {
                slices[count] = IoSlice::new(part);
                count += usize::from(!part.is_empty());
            }
        }
        let mut taken = write(&mut self.channel, &mut self.broken, &slices[..count]);
        let (is_all, mut next) = (taken == offered, first);
        while taken > 0 {
            let len = messages.datagram(next).len();
            if taken < len {
                self.wait_with(messages, next, taken, server);
            }
            taken = taken.saturating_sub(len);
            next += 1;
        }
        // The kernel's refusal may fall between two messages.
        if !is_all && !self.is_waiting() && !self.broken {
            self.wait_with(messages, next, 0, server);
            next += 1;
        }
        next
    }

    /// The same over TLS: a record for each message, for there are clients that take what one record holds as one
    /// message.
    fn encrypt_some(&mut self, messages: &Group<'_>, first: usize) -> usize {
        let (mut next, mut offered) = (first, 0);
        while next < messages.len() && offered < OFFERED && !self.broken {
            let message = messages.datagram(next);
            let parts = message.parts().map(IoSlice::new);
            let taken = write(&mut self.channel, &mut self.broken, &parts);
            self.broken |= taken < message.len();
            offered += message.len() + RECORD;
            next += 1;
        }
        self.broken |= self.channel.flush().is_err();
        next
    }

    /// Whether the kernel took all that it was offered.
    fn write_waiting(&mut self) -> bool {
        let front = self.queue.front(OFFERED);
        let offered: usize = front.iter().map(|part| part.len()).sum();
        let taken = write(&mut self.channel, &mut self.broken, &front);
        self.queue.advance(taken);
        taken == offered
    }

    fn encrypt_waiting(&mut self) {
        let mut offered = 0;
        while offered < OFFERED && !self.queue.is_empty() && !self.broken {
            let message = self.queue.front(0);
            let len: usize = message.iter().map(|part| part.len()).sum();
            let taken = write(&mut self.channel, &mut self.broken, &message);
            self.broken |= taken < len;
            self.queue.advance(taken);
            offered += len + RECORD;
        }
        self.broken |= self.channel.flush().is_err();
    }

    fn wait_with(&mut self, messages: &Group<'_>, place: usize, written: usize, server: &mut Server) {
        for _ in 0..self.queue.push(&messages.datagram(place), written) {
            server.dropped(DropReason::SlowReader);
        }
    }
}

fn write(channel: &mut Channel, broken: &mut bool, bytes: &[IoSlice<'_>]) -> usize {
    match channel.write(bytes) {
        Ok(taken) => taken,
        Err(error) => {
            *broken = error.kind() != io::ErrorKind::WouldBlock;
            0
        }
    }
}
