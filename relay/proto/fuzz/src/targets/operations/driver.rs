//! A driver that takes its time: relay sockets are bound and released when it is told to.

use std::{collections::VecDeque, net::SocketAddr};

use turnpike_proto::{
    AllocationKey, ByFamily, ClientVerdict, Closed, Family, FiveTuple, Now, OpenedRelay, Output, PortRequest,
    RelayRefused, RelayRequest, Server, Shares,
};

use crate::world::relay_ip;

/// Relayed addresses by family.
pub type Addresses = ByFamily<Option<SocketAddr>>;

/// The token of every port that is held.
pub const HELD: [u8; 8] = *b"reserved";

pub struct Driver {
    pub server: Server,
    pub opening: VecDeque<(AllocationKey, RelayRequest)>,
    pub closing: VecDeque<AllocationKey>,
    /// The addresses that ended before their allocation.
    pub closed_addresses: Vec<(AllocationKey, Family)>,
    sent: Vec<Sent>,
    ports: u16,
}

/// A message that went to a client, and the allocation that it is counted for.
#[derive(Debug)]
pub struct Sent {
    pub to: FiveTuple,
    pub allocation: Option<AllocationKey>,
    pub bytes: Vec<u8>,
}

impl Driver {
    pub fn new(server: Server) -> Self {
        Self {
            server,
            opening: VecDeque::new(),
            closing: VecDeque::new(),
            closed_addresses: Vec::new(),
            sent: Vec::new(),
            ports: 0,
        }
    }

    /// Hands a client's datagram over and returns what becomes of it, and what is sent.
    pub fn client(&mut self, now: Now, from: FiveTuple, datagram: &[u8]) -> (ClientVerdict, Vec<Sent>) {
        let mut reply = Vec::new();
        let dropped = self.server.counters().dropped.total();
        let verdict = self.server.handle_client(now, &from, datagram, &mut reply);
        let dropped = self.server.counters().dropped.total() - dropped;
        assert_eq!(dropped, u64::from(matches!(verdict, ClientVerdict::Drop(_))), "each drop is counted");
        if let ClientVerdict::Reply { allocation } = verdict {
            self.send(from, allocation, reply);
        }
        (verdict, self.settle())
    }

    /// Binds relay sockets of these families.
    pub fn open(
        &mut self,
        now: Now,
        key: AllocationKey,
        families: &ByFamily<bool>,
        port: PortRequest,
    ) -> (Addresses, Vec<Sent>) {
        self.ports += 2;
        let port_number = 50_000 + self.ports;
        let advertised = Addresses::from_fn(|family| {
            families[family].then(|| SocketAddr::new(relay_ip(family), port_number))
        });
        let reservation = (port == PortRequest::EvenAndReserveNext).then_some(HELD);
        self.server.handle_relay_opened(
            now,
            key,
            OpenedRelay { advertised, reservation, shares: Shares::default() },
        );
        (advertised, self.settle())
    }

    pub fn refuse(&mut self, now: Now, key: AllocationKey, why: RelayRefused) -> Vec<Sent> {
        self.server.handle_relay_failed(now, key, why);
        self.settle()
    }

    pub fn release(&mut self) -> Option<(AllocationKey, Closed)> {
        let key = self.closing.pop_front()?;
        let closed = self.server.release(key).expect("what is to be closed can be released");
        assert!(self.server.release(key).is_none(), "closed exactly once");
        Some((key, closed))
    }

    /// Acts on outputs.
    pub fn settle(&mut self) -> Vec<Sent> {
        while let Some(output) = self.server.poll_output() {
            match output {
                Output::Transmit { to, message, allocation } => self.send(to, allocation, message),
                Output::OpenRelay { allocation, request } => self.opening.push_back((allocation, request)),
                Output::CloseAddress { allocation, family } => {
                    assert!(!self.closed_addresses.contains(&(allocation, family)), "told once");
                    assert!(!self.closing.contains(&allocation), "all of it is closed already");
                    self.closed_addresses.push((allocation, family));
                }
                Output::CloseRelay { allocation } => self.closing.push_back(allocation),
            }
        }
        std::mem::take(&mut self.sent)
    }

    fn send(&mut self, to: FiveTuple, allocation: Option<AllocationKey>, bytes: Vec<u8>) {
        match allocation {
            Some(key) => self.server.sent_to_client(key, bytes.len()),
            None => self.server.unallocated_sent(to.client, bytes.len()),
        }
        self.sent.push(Sent { to, allocation, bytes });
    }
}
