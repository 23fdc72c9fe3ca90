//! What the core asks for: messages, relay sockets opened and closed. Each allocation is closed, counted and logged once.

use std::net::SocketAddr;

use turnpike_proto::{
    AllocationKey, Cause, Closed, DropReason, FiveTuple, Label as _, OpenedRelay, Output, RelayRefused,
    RelayRequest, Shares, Transport,
};
use turnpike_relay_api::target::Target;

use super::{
    Holder, Node, Relay, Shard,
    outbox::{Account, Exit},
};
use crate::{
    io::Token,
    shared::{Place, RelaySocket},
};

impl Shard {
    /// Drains the core's outputs; to be called after every input.
    pub(super) fn act_on_outputs(&mut self) {
        while let Some(output) = self.server.poll_output() {
            match output {
                Output::Transmit { to, message, allocation } => {
                    let account = allocation.map_or(Account::None(to.client), Account::Client);
                    match self.exit_to(&to) {
                        Some(exit) => self.send_message(exit, &to, message, account),
                        None => self.server.dropped(DropReason::SendFailed),
                    }
                }
                Output::OpenRelay { allocation, request } => self.open_relay(allocation, &request),
                Output::CloseRelay { allocation } => self.close_relay(allocation),
            }
        }
    }

    /// Closes the sockets of ended allocations, whose ports and places are then free.
    pub(super) fn close_sockets(&mut self) {
        for allocation in &self.closing {
            self.relays[allocation.index as usize] = None;
        }
    }

    /// Releases ended allocations: nothing more is sent or counted for them.
    pub(super) fn release_closed(&mut self) {
        self.end_broken_streams();
        self.close_sockets();
        self.close_streams();
        while let Some(allocation) = self.closing.pop() {
            self.disown_stream(allocation);
            if let Some(closed) = self.server.release(allocation) {
                self.ended.get_mut(&closed.five_tuple).add(&closed.traffic);
                log_closed(&closed);
            }
        }
    }

    /// Ends the allocations of a target: when this returns, their sockets are closed and their records written.
    pub(super) fn end(&mut self, target: &Target, cause: Cause) -> Vec<Holder> {
        let mut ended = Vec::new();
        self.server.close_where(self.now, cause, |allocation| {
            let covered = target.covers(&allocation.id().to_string(), allocation.subject());
            if covered {
                let credential_expires = allocation.credential_expires();
                ended.push(Holder { subject: allocation.subject().into(), credential_expires });
            }
            covered
        });
        self.act_on_outputs();
        self.flush();
        self.release_closed();
        ended
    }

    fn open_relay(&mut self, allocation: AllocationKey, request: &RelayRequest) {
        match self.bind_relay(allocation, request) {
            Ok((relay, shares)) => self.serve_relay(allocation, relay, shares),
            Err(why) => {
                tracing::debug!(subject = %request.subject, client = %request.client, ?why, "allocation refused");
                self.server.handle_relay_failed(self.now, allocation, why);
            }
        }
    }

    fn bind_relay(
        &self,
        allocation: AllocationKey,
        request: &RelayRequest,
    ) -> Result<(RelaySocket, Shares), RelayRefused> {
        let Node { shared, revocations, .. } = &self.node;
        if revocations.cover(&request.subject, self.now.unix) {
            return Err(RelayRefused::Revoked);
        }
        let shares = shared.shares.of(request)?;
        let relay = shared.open(request, self.now.mono)?;
        let watched = self.epoll.add(relay.socket(), Token::Relay(allocation.index));
        watched.map(|()| (relay, shares)).map_err(|_| RelayRefused::Socket)
    }

    fn serve_relay(&mut self, key: AllocationKey, socket: RelaySocket, shares: Shares) {
        let (advertised, reservation) = (socket.advertised, socket.reservation);
        self.node.shared.table.set(advertised.port(), Place { shard: self.id, allocation: key });
        self.server.handle_relay_opened(self.now, key, OpenedRelay { advertised, reservation, shares });
        let exit = self.server.allocation(key).and_then(|allocation| self.exit_to(allocation.five_tuple()));
        let exit = exit.expect("the client of an allocation that was just asked for is there");
        if let Exit::Stream(slot) = exit {
            self.own_stream(slot, key);
        }
        let allocation = self.server.allocation(key).expect("an allocation is live once its relay is opened");
        tracing::info!(
            id = %allocation.id(),
            subject = allocation.subject(),
            transport = allocation.five_tuple().transport.name(),
            client = %allocation.five_tuple().client,
            relayed = %advertised,
            "allocation opened"
        );
        let slot = key.index as usize;
        if self.relays.len() <= slot {
            self.relays.resize_with(slot + 1, || None);
        }
        self.relays[slot] = Some(Relay { key, exit, socket });
    }

    fn close_relay(&mut self, allocation: AllocationKey) {
        if let Some(relay) = &self.relays[allocation.index as usize] {
            self.node.shared.table.clear(relay.socket.advertised.port());
        }
        self.closing.push(allocation);
    }

    /// Where messages to a client leave; `None` when its connection has ended.
    fn exit_to(&self, client: &FiveTuple) -> Option<Exit> {
        match client.transport {
            Transport::Udp => Some(Exit::Listener(self.listener_of(client.server))),
            Transport::Tcp | Transport::Tls => self.streams.find(client).map(Exit::Stream),
        }
    }

    /// The listener that received what was sent to this address.
    fn listener_of(&self, server: SocketAddr) -> usize {
        let fits = |local: SocketAddr| {
            local.port() == server.port()
                && (local.ip() == server.ip()
                    || local.ip().is_unspecified() && local.is_ipv4() == server.is_ipv4())
        };
        let place = self.listeners.iter().position(|listener| fits(listener.local));
        place.expect("a client's server address is one that a listener received by")
    }
}

fn log_closed(closed: &Closed) {
    let traffic = &closed.traffic;
    tracing::info!(
        id = %closed.id,
        subject = &*closed.subject,
        cause = closed.cause.name(),
        transport = closed.five_tuple.transport.name(),
        client = %closed.five_tuple.client,
        relayed = %closed.relayed,
        duration_seconds = closed.closed.saturating_sub(closed.opened).as_secs_f64(),
        client_in_bytes = traffic.client_in.bytes,
        client_in_packets = traffic.client_in.packets,
        client_out_bytes = traffic.client_out.bytes,
        client_out_packets = traffic.client_out.packets,
        peer_out_bytes = traffic.peer_out.bytes,
        peer_out_packets = traffic.peer_out.packets,
        peer_in_bytes = traffic.peer_in.bytes,
        peer_in_packets = traffic.peer_in.packets,
        hairpin_bytes = traffic.hairpin.bytes,
        hairpin_packets = traffic.hairpin.packets,
        "allocation closed"
    );
}
