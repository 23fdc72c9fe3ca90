//! The set of sockets that one shard waits on. Level-triggered: a socket that still holds datagrams comes again in the
//! next turn, behind the others.

use std::{
    io,
    os::fd::{AsFd, OwnedFd},
    time::Duration,
};

use rustix::{
    buffer::spare_capacity,
    event::{
        Timespec,
        epoll::{self, CreateFlags, Event, EventData, EventFlags},
    },
    io::Errno,
};

use turnpike_proto::Family;

/// Most sockets reported in one turn.
const EVENTS: usize = 256;

/// What is ready.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Token {
    /// The doorbell.
    Wake,
    /// The listener at this place.
    Listener(u32),
    /// The relay socket of this family of the allocation in this slot.
    Relay(u32, Family),
    /// The listener for streams at this place.
    StreamListener(u32),
    /// The stream in this slot.
    Stream(u32),
}

/// What a socket is watched for; that it has failed is always told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Watch {
    /// Nothing, for a while.
    Nothing,
    /// That it can be read.
    Read,
    /// That it can be read or written.
    ReadAndWrite,
}

impl Watch {
    fn flags(self) -> EventFlags {
        match self {
            Self::Nothing => EventFlags::empty(),
            Self::Read => EventFlags::IN,
            Self::ReadAndWrite => EventFlags::IN | EventFlags::OUT,
        }
    }
}

impl Token {
    fn pack(self) -> u64 {
        match self {
            Self::Wake => 0,
            Self::Listener(place) => 1 << 32 | u64::from(place),
            Self::Relay(slot, Family::Ipv4) => 2 << 32 | u64::from(slot),
            Self::Relay(slot, Family::Ipv6) => 5 << 32 | u64::from(slot),
            Self::StreamListener(place) => 3 << 32 | u64::from(place),
            Self::Stream(slot) => 4 << 32 | u64::from(slot),
        }
    }

    fn unpack(raw: u64) -> Self {
        match raw >> 32 {
            0 => Self::Wake,
            1 => Self::Listener(raw as u32),
            2 => Self::Relay(raw as u32, Family::Ipv4),
            5 => Self::Relay(raw as u32, Family::Ipv6),
            3 => Self::StreamListener(raw as u32),
            _ => Self::Stream(raw as u32),
        }
    }
}

/// An epoll instance.
pub(crate) struct Epoll {
    fd: OwnedFd,
}

/// What a wait has reported; it belongs to the thread that waits.
pub(crate) struct Ready {
    events: Vec<Event>,
}

impl Epoll {
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self { fd: epoll::create(CreateFlags::CLOEXEC)? })
    }

    /// Watches a socket for what can be read; closing it ends that.
    pub(crate) fn add(&self, socket: impl AsFd, token: Token) -> io::Result<()> {
        Ok(epoll::add(&self.fd, socket, EventData::new_u64(token.pack()), Watch::Read.flags())?)
    }

    /// Changes what an added socket is watched for.
    pub(crate) fn watch(&self, socket: impl AsFd, token: Token, watch: Watch) -> io::Result<()> {
        Ok(epoll::modify(&self.fd, socket, EventData::new_u64(token.pack()), watch.flags())?)
    }

    /// Watches an added socket no longer.
    pub(crate) fn remove(&self, socket: impl AsFd) -> io::Result<()> {
        Ok(epoll::delete(&self.fd, socket)?)
    }

    /// Waits until something is ready or the time, rounded up to a millisecond, has passed.
    pub(crate) fn wait(&self, ready: &mut Ready, timeout: Duration) -> io::Result<()> {
        let milliseconds = timeout.as_nanos().div_ceil(1_000_000) as i64;
        let timeout = Timespec { tv_sec: milliseconds / 1_000, tv_nsec: milliseconds % 1_000 * 1_000_000 };
        ready.events.clear();
        match epoll::wait(&self.fd, spare_capacity(&mut ready.events), Some(&timeout)) {
            Ok(_) | Err(Errno::INTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

impl Ready {
    pub(crate) fn new() -> Self {
        Self { events: Vec::with_capacity(EVENTS) }
    }

    pub(crate) fn len(&self) -> usize {
        self.events.len()
    }

    pub(crate) fn token(&self, place: usize) -> Token {
        Token::unpack(self.events[place].data.u64())
    }

    /// Whether it can be written.
    pub(crate) fn is_writable(&self, place: usize) -> bool {
        let flags = self.events[place].flags;
        flags.contains(EventFlags::OUT)
    }

    /// Whether errors wait for it, in its queue or on their own.
    pub(crate) fn has_errors(&self, place: usize) -> bool {
        let flags = self.events[place].flags;
        flags.contains(EventFlags::ERR)
    }

    /// Whether reading it says something, be it that it has failed.
    pub(crate) fn is_readable(&self, place: usize) -> bool {
        let flags = self.events[place].flags;
        flags.intersects(EventFlags::IN | EventFlags::HUP | EventFlags::ERR)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_survive_packing() {
        for token in [
            Token::Wake,
            Token::Listener(0),
            Token::Listener(7),
            Token::Relay(0, Family::Ipv4),
            Token::Relay(u32::MAX, Family::Ipv4),
            Token::Relay(u32::MAX, Family::Ipv6),
            Token::StreamListener(1),
            Token::Stream(u32::MAX),
        ] {
            assert_eq!(Token::unpack(token.pack()), token);
        }
    }
}
