//! One connection of a client.

use std::{io, net::TcpStream, time::Duration};

use rustls::ServerConnection;

use turnpike_proto::{AllocationKey, FiveTuple, MAX_FRAME, Server};

use super::{
    channel::Channel,
    queue::Queue,
    rest::{Piece, Rest},
};
use crate::{
    io::{Segments, Watch, segments},
    shared::SourcePermit,
};

/// The longest message of a client that has no allocation.
const LONGEST_BEFORE: usize = 16 << 10;
/// How long a client may take for its TLS handshake.
const HANDSHAKE: Duration = Duration::from_secs(5);
/// How long it may then take until its first whole message.
const FIRST_MESSAGE: Duration = Duration::from_secs(5);
/// How long a connection may be without an allocation.
const ALLOCATION: Duration = Duration::from_secs(15);
/// Samples of a connection's segments after something went through it.
const SETTLES: u8 = 2;

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

/// How far a connection has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    /// The TLS handshake is not over.
    Handshake,
    /// The first byte decides whether it is TURN.
    Undecided,
    /// TURN, of which no whole message has come.
    Silent,
    /// TURN.
    Speaking,
    /// HTTP: it is not for the relay.
    Http,
}

/// A connection.
pub(super) struct Stream {
    pub(super) five_tuple: FiveTuple,
    /// The allocation that its bytes are counted for.
    owner: Option<AllocationKey>,
    pub(super) channel: Channel,
    rest: Rest,
    pub(super) queue: Queue,
    /// What the epoll set was told.
    pub(super) watch: Watch,
    /// A write has failed.
    pub(super) broken: bool,
    /// It is closed once what is in hand for it has been sent.
    pub(super) ended: bool,
    segments: Segments,
    /// How often its segments are still to be counted: what went through it last is acknowledged later.
    unsettled: u8,
    stage: Stage,
    /// When it came to that stage.
    stage_since: Duration,
    /// When it came, or when its last allocation ended.
    since: Duration,
    /// Its source's, while it has no allocation.
    permit: Option<SourcePermit>,
}

impl Stream {
    pub(super) fn new(channel: Channel, five_tuple: FiveTuple, permit: SourcePermit, now: Duration) -> Self {
        let stage = if channel.is_handshaking() { Stage::Handshake } else { Stage::Silent };
        Self {
            five_tuple,
            owner: None,
            channel,
            rest: Rest::default(),
            queue: Queue::default(),
            watch: Watch::Read,
            broken: false,
            ended: false,
            segments: Segments::default(),
            unsettled: SETTLES,
            stage,
            stage_since: now,
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
        let stage_ends = match self.stage {
            Stage::Handshake => self.stage_since + HANDSHAKE,
            Stage::Undecided | Stage::Silent => self.stage_since + FIRST_MESSAGE,
            Stage::Speaking | Stage::Http => Duration::MAX,
        };
        self.owner.is_none() && now >= stage_ends.min(self.since + ALLOCATION)
    }

    pub(super) fn stage(&self) -> Stage {
        self.stage
    }

    /// A whole message has come.
    pub(super) fn speaks(&mut self) {
        self.stage = Stage::Speaking;
    }

    /// Takes the connection apart, for somebody else to go on with.
    pub(super) fn into_tls(self) -> Option<(TcpStream, ServerConnection)> {
        self.channel.into_tls()
    }

    /// Says that it is closed on purpose.
    pub(super) fn say_goodbye(&mut self, server: &mut Server) {
        if !self.broken && self.stage != Stage::Handshake {
            self.channel.say_goodbye();
            self.count_bytes(server);
        }
    }

    pub(super) fn begin_turn(&mut self) {
        self.channel.begin_turn();
    }

    /// Whether another read in this turn may give more.
    pub(super) fn has_more(&self) -> bool {
        self.channel.has_more()
    }

    /// The longest message that its client may send.
    pub(super) fn longest(&self) -> usize {
        if self.owner.is_some() { MAX_FRAME } else { LONGEST_BEFORE }
    }

    /// Reads once, into a buffer that has room for a whole message.
    pub(super) fn read(&mut self, buffer: &mut [u8], now: Duration, server: &mut Server) -> Read {
        let start = self.rest.len();
        let read = self.channel.read(&mut buffer[start..]);
        self.count_bytes(server);
        self.advance(now, buffer[start..].first().filter(|_| matches!(read, Ok(1..))));
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

    /// What is agreed upon in the handshake decides between TURN and HTTP, or else the first byte does.
    fn advance(&mut self, now: Duration, first: Option<&u8>) {
        let before = self.stage;
        if self.stage == Stage::Handshake && !self.channel.is_handshaking() {
            self.stage = match self.channel.protocol() {
                Some(b"http/1.1") => Stage::Http,
                Some(_) => Stage::Silent,
                None => Stage::Undecided,
            };
        }
        if let (Stage::Undecided, Some(first)) = (self.stage, first) {
            // TURN begins with a STUN message: ChannelData needs an allocation, and has the `G` of `GET` in its range.
            self.stage = if matches!(first, 0..=3) { Stage::Silent } else { Stage::Http };
        }
        if self.stage != before {
            self.stage_since = now;
        }
    }

    /// Keeps the beginning of a message; false when it is longer than its client may send.
    pub(super) fn keep(&mut self, bytes: &[u8], needed: usize) -> bool {
        let longest = self.longest();
        self.rest.keep(bytes, needed, longest)
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

    pub(super) fn count_bytes(&mut self, server: &mut Server) {
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
