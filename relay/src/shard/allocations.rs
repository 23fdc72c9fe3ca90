//! What the core asks for: messages, relay sockets opened and closed. Each allocation is closed, counted and logged once.

use std::{io, net::SocketAddr};

use turnpike_proto::{
    AllocationKey, ByFamily, Cause, Closed, DropReason, Family, FiveTuple, Label as _, OpenedRelay, Output,
    RelayRefused, RelayRequest, Shares, Transport,
};
use turnpike_relay_api::{cost::Step, target::Target};

use super::{
    Holder, Node, Relay, Shard,
    outbox::{Account, Exit},
};
use crate::{
    io::Token,
    shared::{Place, RelaySockets},
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
                Output::CloseAddress { allocation, family } => self.close_address(allocation, family),
                Output::CloseRelay { allocation } => self.close_relay(allocation),
            }
        }
    }

    /// Closes the sockets of ended addresses and allocations, whose ports and places are then free.
    pub(super) fn close_sockets(&mut self) {
        for (allocation, family) in self.closing_addresses.drain(..) {
            let relay = self.relays[allocation.index as usize].as_mut();
            if let Some(relay) = relay.filter(|relay| relay.key == allocation) {
                relay.sockets.close(family);
            }
        }
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
                self.ended.add(closed.five_tuple.transport, &closed.traffic);
                self.ended_counts.count(&closed, &self.node.budget);
                self.feed.closed(&closed, self.now);
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
            Ok((sockets, shares)) => self.serve_relay(allocation, sockets, shares),
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
    ) -> Result<(RelaySockets, Shares), RelayRefused> {
        let Node { shared, revocations, budget, self_test, .. } = &self.node;
        if revocations.cover(&request.subject, self.now.unix) {
            return Err(RelayRefused::Revoked);
        }
        let is_self_test = self_test.as_ref().is_some_and(|own| own.login.name == request.subject);
        if budget.step() == Step::Stop && !is_self_test {
            return Err(RelayRefused::Budget);
        }
        let shares = shared.shares.of(request)?;
        let sockets = shared.open(request, self.now.mono)?;
        self.watch(allocation, &sockets).map(|()| (sockets, shares)).map_err(|_| RelayRefused::Socket)
    }

    fn watch(&self, allocation: AllocationKey, sockets: &RelaySockets) -> io::Result<()> {
        for family in Family::ALL {
            if let Some(socket) = sockets.socket(family) {
                self.epoll.add(socket, Token::Relay(allocation.index, family))?;
            }
        }
        Ok(())
    }

    fn serve_relay(&mut self, key: AllocationKey, sockets: RelaySockets, shares: Shares) {
        let (advertised, reservation) = (sockets.advertised, sockets.reservation);
        for relayed in advertised.iter().filter_map(|(_, relayed)| *relayed) {
            self.node.shared.table.set(relayed, Place { shard: self.id, allocation: key });
        }
        self.server.handle_relay_opened(self.now, key, OpenedRelay { advertised, reservation, shares });
        let exit = self.server.allocation(key).and_then(|allocation| self.exit_to(allocation.five_tuple()));
        let exit = exit.expect("the client of an allocation that was just asked for is there");
        if let Exit::Stream(slot) = exit {
            self.own_stream(slot, key);
        }
        let allocation = self.server.allocation(key).expect("an allocation is live once its relay is opened");
        if !allocation.is_self_test() {
            tracing::info!(
                id = %allocation.id(),
                subject = allocation.subject(),
                transport = allocation.five_tuple().transport.name(),
                client = %allocation.five_tuple().client,
                relayed = shown(&advertised),
                "allocation opened"
            );
            self.feed.opened(allocation, self.now);
            self.setups.count(self.node.clock.uptime().saturating_sub(self.now.mono));
        }
        let slot = key.index as usize;
        if self.relays.len() <= slot {
            self.relays.resize_with(slot + 1, || None);
        }
        self.relays[slot] = Some(Relay { key, exit, sockets, coalesces: ByFamily::default() });
    }

    fn close_relay(&mut self, allocation: AllocationKey) {
        for family in Family::ALL {
            self.forget_address(allocation, family);
        }
        self.closing.push(allocation);
    }

    fn close_address(&mut self, allocation: AllocationKey, family: Family) {
        self.forget_address(allocation, family);
        self.closing_addresses.push((allocation, family));
    }

    /// From now on nothing of this node is sent to it. A port that is closed already may be another's by now.
    fn forget_address(&mut self, allocation: AllocationKey, family: Family) {
        let Some(relay) = &self.relays[allocation.index as usize] else { return };
        let is_open = relay.sockets.socket(family).is_some();
        if let Some(relayed) = relay.sockets.advertised[family].filter(|_| is_open) {
            self.node.shared.table.clear(relayed);
        }
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

/// Relayed addresses as they stand in the log.
fn shown(relayed: &ByFamily<Option<SocketAddr>>) -> String {
    let all = relayed.iter().filter_map(|(_, address)| *address);
    all.map(|address| address.to_string()).collect::<Vec<_>>().join(",")
}

fn log_closed(closed: &Closed) {
    let traffic = closed.traffic.total();
    tracing::info!(
        id = %closed.id,
        subject = &*closed.subject,
        cause = closed.cause.name(),
        transport = closed.five_tuple.transport.name(),
        client = %closed.five_tuple.client,
        relayed = shown(&closed.relayed),
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
