//! What RFC 8656 says a server does, as far as clients and peers can see it. Times are exact, and nothing is freed.

mod allocation;

use std::{
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use turnpike_proto::{AllocationKey, ByFamily, Cause, Family, FiveTuple};
use turnpike_relay_api::admin::Flow;

pub use self::allocation::{Allocation, MAX_CHANNELS, MAX_PERMISSIONS, State};
use super::{
    driver::Addresses,
    script::{Allocate, Body, Lifetime, Login, Peer, PeerAttribute, Reach, Request, user_expires},
};
use crate::world::UNIX;

/// In seconds.
const NONCE_LIFE: u64 = 3600;

/// What a request is answered with.
#[derive(Debug, PartialEq, Eq)]
pub enum Answer {
    /// A retransmission of an Allocate whose first copy is still being worked on, or whatever else comes meanwhile.
    None,
    /// One of these codes without a MAC: the user is not let in.
    Unsigned(Vec<u16>),
    /// One of these codes; a request with several defects may be told any of them.
    Error(Vec<u16>),
    Success,
    /// None before the relay socket is bound.
    Waits,
}

/// How a peer's datagram comes to a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Delivery {
    None,
    ChannelData(u16),
    Indication,
}

pub struct Model {
    /// Time since the start.
    pub now: Duration,
    pub draining: bool,
    pub allocations: Vec<Allocation>,
    pub unallocated_in: Flow,
    pub unallocated_out: Flow,
    /// When each client was given its nonce, in Unix seconds.
    pub nonce_given: Vec<u64>,
    /// A bound channel does not keep its permission alive.
    pub strict: bool,
    /// Which relayed addresses there are.
    pub served: ByFamily<bool>,
}

impl Model {
    pub fn new(clients: usize, strict: bool, served: ByFamily<bool>) -> Self {
        Self {
            now: Duration::ZERO,
            draining: false,
            allocations: Vec::new(),
            unallocated_in: Flow::default(),
            unallocated_out: Flow::default(),
            nonce_given: vec![0; clients],
            strict,
            served,
        }
    }

    /// The allocation of a client, being opened or live.
    pub fn current(&self, client: usize) -> Option<usize> {
        self.allocations.iter().position(|a| a.client == client && (a.is_opening() || a.lives(self.now)))
    }

    /// Counts a datagram and tells whose it is. What comes by a stream is not counted by messages.
    pub fn comes_from_client(
        &mut self,
        client: usize,
        len: usize,
        from: &FiveTuple,
    ) -> Option<AllocationKey> {
        let family = Family::of(from.client.ip());
        let current = self.current(client);
        let flow = match current {
            Some(at) => &mut self.allocations[at].traffic[family].client_in,
            None => &mut self.unallocated_in,
        };
        if !from.transport.is_stream() {
            count(flow, len, family);
        }
        self.allocations[current?].key
    }

    /// Those that have or had a relay socket.
    pub fn bound(&self) -> impl Iterator<Item = usize> {
        let all = self.allocations.iter().enumerate();
        all.filter(|(_, allocation)| allocation.state != State::Opening).map(|(at, _)| at)
    }

    pub fn find(&self, key: AllocationKey) -> &Allocation {
        let found = self.allocations.iter().find(|a| a.key == Some(key));
        found.expect("the server names allocations that it has opened")
    }

    pub fn by_key(&mut self, key: AllocationKey) -> &mut Allocation {
        let mut known = self.allocations.iter_mut();
        known.find(|a| a.key == Some(key)).expect("the server names allocations that it has opened")
    }

    /// RFC 8489 §9.2.4, then RFC 8489 §6.3.1, then RFC 8656.
    pub fn request(&mut self, request: &Request) -> Answer {
        let current = self.current(request.client);
        let found = current.map(|at| &self.allocations[at]);
        if found.is_some_and(|allocation| allocation.state == State::Opening) {
            return Answer::None;
        }
        let owner = found.map(|allocation| allocation.user);
        let refused = self.not_let_in(request, owner);
        if !refused.is_empty() {
            return Answer::Unsigned(refused);
        }
        let errors = match (&request.body, current) {
            _ if request.unknown => vec![420],
            (Body::Allocate(_), Some(at)) => {
                let first = &self.allocations[at];
                match first.user == request.user && first.transaction == request.transaction {
                    true => vec![],
                    false => vec![437],
                }
            }
            (Body::Allocate(allocate), None) => {
                let errors = self.allocate_errors(allocate);
                if errors.is_empty() {
                    self.open(request, allocate);
                    return Answer::Waits;
                }
                errors
            }
            (_, None) => vec![437],
            (_, Some(_)) if owner != Some(request.user) => vec![441],
            (Body::Refresh { lifetime, family }, Some(at)) => self.refresh(at, *lifetime, *family),
            (Body::CreatePermission { peers }, Some(at)) => self.create_permission(at, peers),
            (Body::ChannelBind { number, peer }, Some(at)) => self.channel_bind(at, *number, *peer),
        };
        if errors.is_empty() { Answer::Success } else { Answer::Error(errors) }
    }

    fn not_let_in(&self, request: &Request, owner: Option<usize>) -> Vec<u16> {
        let unix = UNIX + self.now.as_secs();
        let stale = unix - self.nonce_given[request.client] >= NONCE_LIFE;
        let expired = unix >= user_expires(request.user);
        let mut codes = match request.login {
            Login::NoMac | Login::WrongKey => return vec![401],
            Login::NoRealm => return vec![400],
            Login::AnothersNonce => vec![438],
            Login::Right if stale => vec![438],
            Login::Right => vec![],
        };
        // A call outlives its credential.
        if matches!(request.body, Body::Allocate(_)) && expired && owner != Some(request.user) {
            codes.push(401);
        }
        codes
    }

    /// RFC 8656 §7.2, 3 to 11.
    fn allocate_errors(&self, allocate: &Allocate) -> Vec<u16> {
        let Allocate { transport, lifetime, even_port, token, family, second_family } = *allocate;
        let reserves = even_port == Some(0x80);
        let one = token.is_none() && second_family.is_none();
        let defects = [
            (transport.len() != 4, 400),
            (transport.first().is_some_and(|protocol| *protocol != 17), 442),
            (token.is_some() && (even_port.is_some() || family.is_some() || second_family.is_some()), 400),
            (family.is_some() && second_family.is_some(), 400),
            (one && numbered(family.unwrap_or(1)).is_none_or(|family| !self.served[family]), 440),
            (reserves && second_family.is_some(), 400),
            (second_family.is_some_and(|family| family != 2), 400),
            (lifetime == Lifetime::Malformed, 400),
            (self.draining, 508),
        ];
        defects.into_iter().filter(|(is_so, _)| *is_so).map(|(_, code)| code).collect()
    }

    fn open(&mut self, request: &Request, allocate: &Allocate) {
        let granted = allocate.lifetime.granted();
        let mut opening = Allocation::opening(request.client, request.user, request.transaction, granted);
        let Allocate { token, family, second_family, .. } = *allocate;
        opening.asked = match second_family {
            Some(_) => self.served,
            None => ByFamily::from_fn(|f| token.is_none() && numbered(family.unwrap_or(1)) == Some(f)),
        };
        let missing = Family::ALL.into_iter().find(|family| !self.served[*family]);
        opening.refused = missing.filter(|_| second_family.is_some()).map(|family| (family, 440));
        self.allocations.push(opening);
    }

    pub fn opened(&mut self, key: AllocationKey, relayed: Addresses) {
        let now = self.now;
        self.by_key(key).opened(relayed, now);
    }

    /// There is no relay socket and so no allocation: what came for it belongs to none.
    pub fn refused(&mut self, key: AllocationKey) {
        let allocation = self.by_key(key);
        allocation.state = State::Gone;
        let traffic = std::mem::take(&mut allocation.traffic).total();
        self.unallocated_in.add(&traffic.client_in);
        self.unallocated_out.add(&traffic.client_out);
    }

    pub fn close_all(&mut self, cause: Cause) {
        self.close_where(cause, |_| true);
    }

    pub fn end_user(&mut self, user: usize, cause: Cause) {
        self.close_where(cause, |allocation| allocation.user == user);
    }

    /// The connection of a client has ended: what is being opened for it ends as soon as it is open.
    pub fn disconnect(&mut self, client: usize) {
        let Some(at) = self.current(client) else { return };
        match self.allocations[at].is_opening() {
            true => self.allocations[at].is_lost = true,
            false => self.close_where(Cause::Lost, |allocation| allocation.client == client),
        }
    }

    fn close_where(&mut self, cause: Cause, ends: impl Fn(&Allocation) -> bool) {
        let now = self.now;
        let live = self.allocations.iter_mut().filter(|a| a.lives(now) && ends(a));
        live.for_each(|a| a.state = State::Ended { cause, at: now });
    }

    /// RFC 8656 §8.2.
    fn refresh(&mut self, at: usize, lifetime: Lifetime, family: Option<u8>) -> Vec<u16> {
        let allocation = &mut self.allocations[at];
        let one = family.map(|number| numbered(number).filter(|family| allocation.serves(*family, self.now)));
        let defects = [(one == Some(None), 443), (lifetime == Lifetime::Malformed, 400)];
        let errors: Vec<u16> =
            defects.into_iter().filter(|(is_so, _)| *is_so).map(|(_, code)| code).collect();
        if errors.is_empty() {
            allocation.refresh(lifetime.refreshed(), one.flatten(), self.now);
        }
        errors
    }

    /// RFC 8656 §10.2: all of them, or none.
    fn create_permission(&mut self, at: usize, peers: &[PeerAttribute]) -> Vec<u16> {
        let mut errors: Vec<u16> = peers.iter().filter_map(|peer| self.address_error(at, *peer)).collect();
        if peers.is_empty() {
            errors.push(400);
        }
        let ips: Vec<IpAddr> = peers.iter().filter_map(|peer| ip(*peer)).collect();
        match errors.is_empty() {
            true => self.allocations[at].permit(&ips, self.now),
            false => errors,
        }
    }

    /// RFC 8656 §12.2.
    fn channel_bind(&mut self, at: usize, number: Option<u16>, peer: Option<PeerAttribute>) -> Vec<u16> {
        let (Some(number), Some(PeerAttribute::Peer(to))) = (number, peer) else { return vec![400] };
        let error = peer.and_then(|peer| self.address_error(at, peer));
        let mut errors: Vec<u16> = error.into_iter().collect();
        if to.reach == Reach::NotThisPort {
            errors.push(403);
        }
        if !(0x4000..=0x4FFF).contains(&number) {
            errors.push(400);
        }
        match errors.is_empty() {
            true => self.allocations[at].bind(number, to.address, self.now),
            false => errors,
        }
    }

    /// Whether a Send indication goes to its peer (RFC 8656 §11.2).
    pub fn sends(&self, client: usize, to: Peer) -> Option<SocketAddr> {
        let allocation = &self.allocations[self.current(client)?];
        let passes = allocation.permits(to.address.ip(), self.now, self.strict) && to.reach == Reach::Yes;
        passes.then_some(to.address)
    }

    /// Where ChannelData goes (RFC 8656 §12.6).
    pub fn channel(&self, client: usize, number: u16) -> Option<SocketAddr> {
        let allocation = &self.allocations[self.current(client)?];
        allocation.channels(self.now).find(|(bound, _)| *bound == number).map(|(_, peer)| peer)
    }

    /// How a peer's datagram comes to the client (RFC 8656 §11.3, §12.7).
    pub fn delivery(&self, at: usize, peer: SocketAddr) -> Delivery {
        let allocation = &self.allocations[at];
        if !allocation.lives(self.now) || !allocation.permits(peer.ip(), self.now, self.strict) {
            return Delivery::None;
        }
        match allocation.channels(self.now).find(|(_, bound)| *bound == peer) {
            Some((number, _)) => Delivery::ChannelData(number),
            None => Delivery::Indication,
        }
    }

    /// Whether a client is told of an ICMP error about a peer (RFC 8656 §11.5).
    pub fn tells(&self, at: usize, about: SocketAddr, kind: u8) -> bool {
        let allocation = &self.allocations[at];
        let is_told = match about {
            SocketAddr::V4(_) => matches!(kind, 3 | 11),
            SocketAddr::V6(_) => matches!(kind, 1..=3),
        };
        is_told && allocation.permits(about.ip(), self.now, self.strict)
    }

    fn address_error(&self, at: usize, peer: PeerAttribute) -> Option<u16> {
        let PeerAttribute::Peer(peer) = peer else { return Some(400) };
        let serves = self.allocations[at].serves(Family::of(peer.address.ip()), self.now);
        match peer.reach {
            _ if !serves => Some(443),
            Reach::No => Some(403),
            Reach::Yes | Reach::NotThisPort => None,
        }
    }

    /// Every moment to come at which something of a live allocation ends.
    pub fn deadlines(&self) -> Vec<Duration> {
        let live = self.allocations.iter().filter(|a| a.lives(self.now));
        let mut all: Vec<Duration> =
            live.flat_map(Allocation::deadlines).filter(|deadline| *deadline > self.now).collect();
        all.sort_unstable();
        all
    }
}

fn numbered(number: u8) -> Option<Family> {
    match number {
        1 => Some(Family::Ipv4),
        2 => Some(Family::Ipv6),
        _ => None,
    }
}

fn ip(peer: PeerAttribute) -> Option<IpAddr> {
    match peer {
        PeerAttribute::Peer(peer) => Some(peer.address.ip()),
        PeerAttribute::Malformed => None,
    }
}

/// Counts a datagram of `len` bytes behind the IP and UDP headers of a family.
pub fn count(flow: &mut Flow, len: usize, family: Family) {
    flow.packets += 1;
    flow.bytes += len as u64 + if family == Family::Ipv4 { 28 } else { 48 };
}
