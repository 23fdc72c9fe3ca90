//! Ports that no two tests share, below those that the kernel gives away.

use std::{
    net::{Ipv4Addr, TcpListener, UdpSocket},
    ops::RangeInclusive,
    process,
    sync::atomic::{AtomicU32, Ordering},
};

const FIRST: u16 = 20_000;
const BLOCK: u16 = 200;
const BLOCKS: u32 = 60;
const LISTENERS: u16 = 100;

static TAKEN: AtomicU32 = AtomicU32::new(0);

/// A block of ports: the lower half for listeners, the upper one for relay sockets.
pub(crate) struct Ports {
    next: u16,
    end: u16,
}

impl Ports {
    pub(crate) fn take() -> Self {
        let block = (process::id() + TAKEN.fetch_add(1, Ordering::Relaxed)) % BLOCKS;
        let next = FIRST + u16::try_from(block).unwrap() * BLOCK;
        Self { next, end: next + LISTENERS }
    }

    /// A port that is free for UDP and TCP on loopback, and its neighbour too.
    pub(crate) fn listener(&mut self) -> u16 {
        while self.next < self.end {
            let port = self.next;
            self.next += 2;
            if (port..=port + 1).all(is_free) {
                return port;
            }
        }
        panic!("no free port below {}", self.end);
    }

    pub(crate) fn relay_range(&self) -> RangeInclusive<u16> {
        self.end..=self.end + BLOCK - LISTENERS - 1
    }
}

fn is_free(port: u16) -> bool {
    let address = (Ipv4Addr::UNSPECIFIED, port);
    UdpSocket::bind(address).is_ok() && TcpListener::bind(address).is_ok()
}
