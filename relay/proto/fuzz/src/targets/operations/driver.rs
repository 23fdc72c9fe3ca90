//! A driver that takes its time: relay sockets are bound and released when it is told to.

use std::{collections::VecDeque, net::SocketAddr};

use turnpike_proto::{
    AllocationKey, ClientVerdict, Closed, FiveTuple, Now, OpenedRelay, Output, PortRequest, RelayRefused,
    RelayRequest, Server, Shares,
};

use crate::world::RELAY_IP;

/// The token of every port that is held.
pub const HELD: [u8; 8] = *b"reserved";

pub struct Driver {
    pub server: Server,
    pub opening: VecDeque<(AllocationKey, RelayRequest)>,
    pub closing: VecDeque<AllocationKey>,
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
        Self { server, opening: VecDeque::new(), closing: VecDeque::new(), sent: Vec::new(), ports: 0 }
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

    /// Binds a relay socket.
    pub fn open(&mut self, now: Now, key: AllocationKey, port: PortRequest) -> (SocketAddr, Vec<Sent>) {
        self.ports += 2;
        let advertised = SocketAddr::from((RELAY_IP, 50_000 + self.ports));
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
