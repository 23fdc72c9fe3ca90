//! Messages from clients: a batch of datagrams from a listener, a verdict for each.

use std::{mem, net::SocketAddr, ops::Range, os::fd::AsFd as _};

use turnpike_proto::{ClientVerdict, DropReason, FiveTuple, Transport};

use super::{
    Shard, SocketCall,
    outbox::{Account, Entry, Exit, Kept, Payload},
    peers::ToPeer,
};

/// Most datagrams that one listener gives at a time.
const BATCH: usize = 64;

impl Shard {
    /// Takes one batch from each listener that may hold something.
    pub(super) fn read_listeners(&mut self) {
        for listener in 0..self.listeners.len() {
            if self.listeners[listener].hungry {
                self.make_room(BATCH);
                self.read_listener(listener);
            }
        }
    }

    fn read_listener(&mut self, place: usize) {
        let listener = &mut self.listeners[place];
        let received = self.inbox.receive(listener.socket.as_fd(), BATCH);
        let slots = received.unwrap_or_else(|error| {
            self.socket_errors.count(SocketCall::Receive);
            tracing::debug!(%error, listener = %listener.local, "receive failed");
            0..0
        });
        listener.hungry = slots.len() == BATCH;
        for slot in slots {
            self.handle_datagrams(place, slot);
        }
    }

    fn handle_datagrams(&mut self, place: usize, slot: usize) {
        let Some(received) = self.inbox.received(slot) else { return };
        if received.truncated {
            return self.server.dropped(DropReason::TooLarge);
        }
        self.together.count(received.count());
        let local = self.listeners[place].local;
        let server = SocketAddr::new(received.to.unwrap_or(local.ip()), local.port());
        let five_tuple = FiveTuple { transport: Transport::Udp, client: received.from, server };
        for datagram in received.datagrams() {
            self.handle_client(Exit::Listener(place), &five_tuple, slot, datagram);
        }
    }

    /// Handles a message that stands in the inbox; its answer leaves by `exit`.
    pub(super) fn handle_client(
        &mut self,
        exit: Exit,
        five_tuple: &FiveTuple,
        slot: usize,
        message: Range<usize>,
    ) {
        let start = message.start;
        let bytes = &self.inbox.bytes(slot)[message];
        match self.server.handle_client(self.now, five_tuple, bytes, &mut self.reply) {
            ClientVerdict::Relay { allocation, peer, payload, route, dont_fragment } => {
                let payload = start + payload.start..start + payload.end;
                let payload = ToPeer { slot, range: payload, dont_fragment };
                self.send_to_peer(allocation, peer, payload, route);
            }
            ClientVerdict::Reply { allocation } => {
                let bytes = mem::replace(&mut self.reply, self.outbox.spare());
                let account = allocation.map_or(Account::None(five_tuple.client), Account::Client);
                self.send_message(exit, five_tuple, bytes, account);
            }
            ClientVerdict::Handled | ClientVerdict::Drop(_) => {}
        }
        self.act_on_outputs();
    }

    /// Sends a message of the control plane from the address that the client talks to.
    pub(super) fn send_message(&mut self, exit: Exit, to: &FiveTuple, bytes: Vec<u8>, account: Account) {
        let payload: Payload = self.outbox.keep(Kept { bytes, ring: None });
        self.outbox.push(Entry {
            exit,
            to: to.client,
            from: self.source(exit, to),
            header: None,
            payload,
            pad: 0,
            dont_fragment: false,
            account,
        });
    }
}
