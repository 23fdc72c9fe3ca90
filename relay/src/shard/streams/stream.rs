//! One connection of a client.

use std::{
    io::{self, IoSlice},
    net::TcpStream,
    time::Duration,
};

use turnpike_proto::{AllocationKey, DropReason, FiveTuple, MAX_FRAME, Server};

use super::{
    channel::Channel,
    queue::Queue,
    rest::{Piece, Rest},
};
use crate::{
    io::{Segments, Watch, segments},
    shard::outbox::Group,
    shared::SourcePermit,
};

/// The longest message of a client that has no allocation.
const LONGEST_BEFORE: usize = 16 << 10;
/// How long a client may take until its first whole message.
const FIRST_MESSAGE: Duration = Duration::from_secs(5);
/// How long a connection may be without an allocation.
const ALLOCATION: Duration = Duration::from_secs(15);
/// Samples of a connection's segments after something went through it.
const SETTLES: u8 = 2;
/// Messages of one write.
const MESSAGES: usize = 64;
/// Bytes of one write, unless one message has more.
const OFFERED: usize = 64 << 10;

/// What a read gives.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Read {
    /// The buffer begins with so many bytes of the stream, from the beginning of a message on.
    Bytes(usize),
    /// Part of a message, which is kept.
    Part,
    /// Nothing for now.
    Nothing,
    /// The end, or an error that is one.
    End,
}

/// A connection.
pub(super) struct Stream {
    pub(super) five_tuple: FiveTuple,
    /// The allocation that its bytes are counted for.
    owner: Option<AllocationKey>,
    channel: Channel,
    rest: Rest,
    queue: Queue,
    /// What the epoll set was told.
    pub(super) watch: Watch,
    /// A write has failed.
    broken: bool,
    /// It is closed once what is in hand for it has been sent.
    pub(super) ended: bool,
    segments: Segments,
    /// How often its segments are still to be counted: what went through it last is acknowledged later.
    unsettled: u8,
    /// It has sent a whole message.
    pub(super) spoke: bool,
    /// When it came, or when its last allocation ended.
    since: Duration,
    /// Its source's, while it has no allocation.
    permit: Option<SourcePermit>,
}

impl Stream {
    pub(super) fn new(socket: TcpStream, five_tuple: FiveTuple, permit: SourcePermit, now: Duration) -> Self {
        Self {
            five_tuple,
            owner: None,
            channel: Channel::plain(socket),
            rest: Rest::default(),
            queue: Queue::default(),
            watch: Watch::Read,
            broken: false,
            ended: false,
            segments: Segments::default(),
            unsettled: SETTLES,
            spoke: false,
            since: now,
            permit: Some(permit),
        }
    }

    pub(super) fn socket(&self) -> &TcpStream {
        self.channel.socket()
    }

    pub(super) fn owner(&self) -> Option<AllocationKey> {
        self.owner
    }

    /// From now on its bytes are those of this allocation.
    pub(super) fn own(&mut self, allocation: AllocationKey, server: &mut Server) {
        self.count_segments(server);
        self.owner = Some(allocation);
        self.permit = None;
    }

    /// Its allocation has ended; the connection may get another one.
    pub(super) fn disown(&mut self, permit: Option<SourcePermit>, now: Duration, server: &mut Server) {
        self.count_segments(server);
        self.owner = None;
        self.permit = permit;
        self.since = now;
    }

    /// Whether it has been without what it should have for too long.
    pub(super) fn is_overdue(&self, now: Duration) -> bool {
        let limit = if self.spoke { ALLOCATION } else { FIRST_MESSAGE };
        self.owner.is_none() && now >= self.since + limit
    }

    /// The longest message that its client may send.
    pub(super) fn longest(&self) -> usize {
        if self.owner.is_some() { MAX_FRAME } else { LONGEST_BEFORE }
    }

    /// Reads once, into a buffer that has room for a whole message.
    pub(super) fn read(&mut self, buffer: &mut [u8], server: &mut Server) -> Read {
        let read = self.channel.read(&mut buffer[self.rest.len()..]);
        self.count_bytes(server);
        match read {
            Ok(0) => Read::End,
            Ok(len) => match self.rest.join(buffer, len) {
                Piece::Whole(len) => Read::Bytes(len),
                Piece::Partial => Read::Part,
            },
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Read::Nothing,
            Err(_) => Read::End,
        }
    }

    /// Keeps the beginning of a message; false when it is longer than its client may send.
    pub(super) fn keep(&mut self, bytes: &[u8], needed: usize) -> bool {
        let longest = self.longest();
        self.rest.keep(bytes, needed, longest)
    }

    /// Writes messages as far as the kernel takes them; the others wait, or go.
    pub(super) fn send(&mut self, messages: &Group<'_>, server: &mut Server) {
        let mut next = 0;
        while next < messages.len() && !self.is_waiting() && !self.broken {
            next = self.send_some(messages, next, server);
        }
        for place in next..messages.len() {
            match self.broken {
                true => server.dropped(DropReason::SendFailed),
                false => self.wait_with(messages, place, 0, server),
            }
        }
        self.count_bytes(server);
    }

    /// Writes messages from `first` on, and gives the first one that nothing was written of.
    fn send_some(&mut self, messages: &Group<'_>, first: usize, server: &mut Server) -> usize {
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
        let is_all = taken == offered;
        let mut next = first;
        while taken > 0 {
            let len = messages.datagram(next).len();
            if taken < len {
                self.wait_with(messages, next, taken, server);
            }
            taken = taken.saturating_sub(len);
            next += 1;
        }
        if !is_all && !self.is_waiting() && next < messages.len() && !self.broken {
            self.wait_with(messages, next, 0, server);
            next += 1;
        }
        next
    }

    fn wait_with(&mut self, messages: &Group<'_>, place: usize, written: usize, server: &mut Server) {
        for _ in 0..self.queue.push(&messages.datagram(place), written) {
            server.dropped(DropReason::SlowReader);
        }
    }

    /// Writes what waits as far as the kernel takes it.
    pub(super) fn send_waiting(&mut self, server: &mut Server) {
        while self.is_waiting() && !self.broken {
            let front = self.queue.front(OFFERED);
            let offered: usize = front.iter().map(|part| part.len()).sum();
            let taken = write(&mut self.channel, &mut self.broken, &front);
            self.queue.advance(taken);
            if taken < offered {
                break;
            }
        }
        self.count_bytes(server);
    }

    /// Whether anything waits until the kernel takes more.
    pub(super) fn is_waiting(&self) -> bool {
        !self.queue.is_empty()
    }

    pub(super) fn is_broken(&self) -> bool {
        self.broken
    }

    /// Messages that wait, and are lost when it is closed.
    pub(super) fn waiting(&self) -> usize {
        self.queue.messages()
    }

    /// Counts segments since the last time, if there can be any.
    pub(super) fn sample(&mut self, server: &mut Server) {
        if self.unsettled > 0 {
            self.unsettled -= 1;
            self.count_segments(server);
        }
    }

    /// Counts segments since the last time.
    pub(super) fn count_segments(&mut self, server: &mut Server) {
        let Ok(now) = segments(self.channel.socket()) else { return };
        let before = std::mem::replace(&mut self.segments, now);
        let client = self.five_tuple.client.ip();
        let since = |now: u32, before: u32| u64::from(now.wrapping_sub(before));
        server.stream_received(self.owner, client, 0, since(now.received, before.received));
        server.stream_sent(self.owner, client, 0, since(now.sent, before.sent));
    }

    fn count_bytes(&mut self, server: &mut Server) {
        let (received, sent) = self.channel.take_counts();
        let client = self.five_tuple.client.ip();
        if received > 0 {
            server.stream_received(self.owner, client, received, 0);
            self.unsettled = SETTLES;
        }
        if sent > 0 {
            server.stream_sent(self.owner, client, sent, 0);
            self.unsettled = SETTLES;
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
