//! What one turn has to send, grouped by socket and sent at its end.

use std::{
    net::{IpAddr, SocketAddr},
    ops::Range,
};

use turnpike_proto::{AllocationKey, Family, Header};

use crate::io::{Datagram, Inbox};

/// Answers' buffers kept for reuse.
const SPARE: usize = 128;

/// The socket that a message leaves by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Exit {
    /// The relay socket of this family of the allocation in this slot.
    Relay(u32, Family),
    /// The listener at this place.
    Listener(usize),
    /// The connection in this slot.
    Stream(u32),
}

/// Half of what leaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    Peers,
    Clients,
}

/// Where the bytes are until they are sent.
#[derive(Debug)]
pub(super) enum Payload {
    /// In the inbox.
    Received { slot: usize, range: Range<usize> },
    /// A message of the control plane, or a payload of another shard.
    Kept(usize),
    /// There are none.
    Empty,
}

/// Whose bytes they are once the kernel has taken them.
#[derive(Debug, Clone, Copy)]
pub(super) enum Account {
    /// The allocation's, on its client's leg.
    Client(AllocationKey),
    /// The allocation's, on its peers' leg.
    Peer(AllocationKey, Family),
    /// Nobody's: an answer to a client without an allocation.
    None(SocketAddr),
}

/// One datagram, or message of a stream, to be sent.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) exit: Exit,
    pub(super) to: SocketAddr,
    pub(super) from: Option<IpAddr>,
    pub(super) header: Option<Header>,
    pub(super) payload: Payload,
    pub(super) pad: u8,
    /// It leaves with DF, or not at all.
    pub(super) dont_fragment: bool,
    pub(super) account: Account,
}

/// A buffer that lives until the flush.
#[derive(Debug)]
pub(super) struct Kept {
    pub(super) bytes: Vec<u8>,
    /// The ring that gets it back; answers are this shard's own.
    pub(super) ring: Option<usize>,
}

/// Where an entry stands in the order of sending: all of one destination in one row, which may then go together, and
/// these as they came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Turn {
    exit: Exit,
    /// The same for one destination, mostly another for another.
    flow: u32,
    place: u32,
}

/// The datagrams of one turn.
#[derive(Default)]
pub(super) struct Outbox {
    entries: Vec<Entry>,
    order: Vec<Turn>,
    kept: Vec<Kept>,
    spare: Vec<Vec<u8>>,
}

impl Outbox {
    pub(super) fn push(&mut self, entry: Entry) {
        self.entries.push(entry);
    }

    /// Keeps bytes until the flush, for [`Payload::Kept`].
    pub(super) fn keep(&mut self, kept: Kept) -> Payload {
        self.kept.push(kept);
        Payload::Kept(self.kept.len() - 1)
    }

    /// An empty buffer for an answer.
    pub(super) fn spare(&mut self) -> Vec<u8> {
        self.spare.pop().unwrap_or_default()
    }

    /// How many entries there are.
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Gives one side, socket by socket, destination by destination within each, and in order to each.
    pub(super) fn send(&mut self, side: Side, inbox: &Inbox, mut send: impl FnMut(Exit, &Group<'_>)) {
        let Self { entries, order, kept, .. } = self;
        order.clear();
        let turns = entries.iter().zip(0..).filter(|(entry, _)| entry.exit.side() == side);
        order.extend(turns.map(|(entry, place)| Turn { exit: entry.exit, flow: flow(entry.to), place }));
        order.sort_unstable();
        for turns in order.chunk_by(|one, other| one.exit == other.exit) {
            send(turns[0].exit, &Group { turns, entries, inbox, kept });
        }
    }

    /// Forgets everything. Answers' buffers are kept for reuse, the others go back to their rings.
    pub(super) fn clear(&mut self, mut give_back: impl FnMut(usize, Vec<u8>)) {
        self.entries.clear();
        for Kept { bytes, ring } in self.kept.drain(..) {
            match ring {
                Some(ring) => give_back(ring, bytes),
                None if self.spare.len() < SPARE => self.spare.push(bytes),
                None => {}
            }
        }
    }
}

impl Exit {
    fn side(self) -> Side {
        match self {
            Self::Relay(..) => Side::Peers,
            Self::Listener(_) | Self::Stream(_) => Side::Clients,
        }
    }
}

/// What leaves by one socket, in order.
pub(super) struct Group<'a> {
    turns: &'a [Turn],
    entries: &'a [Entry],
    inbox: &'a Inbox,
    kept: &'a [Kept],
}

impl<'a> Group<'a> {
    pub(super) fn len(&self) -> usize {
        self.turns.len()
    }

    pub(super) fn account(&self, place: usize) -> Account {
        self.entry(place).account
    }

    pub(super) fn datagram(&self, place: usize) -> Datagram<'a> {
        self.entry(place).datagram(self.inbox, self.kept)
    }

    /// Its parts that leave with DF and those that need not, in order.
    pub(super) fn by_fragmentation(&self) -> impl Iterator<Item = (bool, Group<'a>)> {
        let Self { turns, entries, inbox, kept } = *self;
        let whole = move |turn: &Turn| entries[turn.place as usize].dont_fragment;
        let parts = turns.chunk_by(move |one, other| whole(one) == whole(other));
        parts.map(move |turns| (whole(&turns[0]), Group { turns, entries, inbox, kept }))
    }

    fn entry(&self, place: usize) -> &'a Entry {
        &self.entries[self.turns[place].place as usize]
    }
}

fn flow(to: SocketAddr) -> u32 {
    let ip = match to.ip() {
        IpAddr::V4(ip) => ip.to_bits(),
        IpAddr::V6(ip) => {
            let bits = ip.to_bits();
            (bits ^ bits >> 32 ^ bits >> 64 ^ bits >> 96) as u32
        }
    };
    ip.wrapping_mul(0x9E37_79B1) ^ u32::from(to.port()).wrapping_mul(0x85EB_CA6B)
}

impl Entry {
    fn datagram<'a>(&'a self, inbox: &'a Inbox, kept: &'a [Kept]) -> Datagram<'a> {
        let payload = match &self.payload {
            Payload::Received { slot, range } => &inbox.bytes(*slot)[range.clone()],
            Payload::Kept(place) => &kept[*place].bytes,
            Payload::Empty => &[],
        };
        let header = self.header.as_ref().map_or(&[][..], AsRef::as_ref);
        Datagram { to: self.to, from: self.from, header, payload, pad: self.pad }
    }
}
