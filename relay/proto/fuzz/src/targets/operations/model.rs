//! What RFC 8656 says a server does, as far as clients and peers can see it. Times are exact, and nothing is freed.

use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use turnpike_proto::{AllocationKey, Cause};
use turnpike_relay_api::admin::{Flow, Traffic};

use crate::world::UNIX;

use super::script::{Allocate, Body, Lifetime, Login, PeerAttribute, Reach, Request, user_expires};

pub const MAX_PERMISSIONS: usize = 4;
pub const MAX_CHANNELS: usize = 3;
const PERMISSION_LIFE: Duration = Duration::from_secs(300);
const CHANNEL_LIFE: Duration = Duration::from_secs(600);
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

pub struct Allocation {
    pub client: usize,
    pub user: usize,
    pub transaction: u8,
    pub key: Option<AllocationKey>,
    pub state: State,
    pub granted: Duration,
    pub traffic: Traffic,
    expires: Duration,
    permissions: BTreeMap<IpAddr, Duration>,
    channels: BTreeMap<u16, (SocketAddr, Duration)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    Opening,
    Live {
        relayed: SocketAddr,
    },
    Ended {
        cause: Cause,
        at: Duration,
    },
    /// Its relay socket could not be bound, or its final record is written.
    Gone,
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
}

impl Model {
    pub fn new(clients: usize, strict: bool) -> Self {
        Self {
            now: Duration::ZERO,
            draining: false,
            allocations: Vec::new(),
            unallocated_in: Flow::default(),
            unallocated_out: Flow::default(),
            nonce_given: vec![0; clients],
            strict,
        }
    }

    /// The allocation of a client, being opened or live.
    pub fn current(&self, client: usize) -> Option<usize> {
        self.allocations
            .iter()
            .position(|a| a.client == client && (a.state == State::Opening || a.lives(self.now)))
    }

    /// Counts a datagram and tells whose it is.
    pub fn comes_from_client(&mut self, client: usize, len: usize, is_ipv4: bool) -> Option<AllocationKey> {
        let current = self.current(client).map(|at| &mut self.allocations[at]);
        match current {
            Some(allocation) => {
                count(&mut allocation.traffic.client_in, len, is_ipv4);
                allocation.key
            }
            None => {
                count(&mut self.unallocated_in, len, is_ipv4);
                None
            }
        }
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
        let defects = [
            (transport.len() != 4, 400),
            (transport.first().is_some_and(|protocol| *protocol != 17), 442),
            (token.is_some() && (even_port.is_some() || family.is_some() || second_family), 400),
            (family.is_some() && second_family, 400),
            (family.is_some_and(|family| family != 1), 440),
            (reserves && second_family, 400),
            (lifetime == Lifetime::Malformed, 400),
            (self.draining, 508),
        ];
        defects.into_iter().filter(|(is_so, _)| *is_so).map(|(_, code)| code).collect()
    }

    fn open(&mut self, request: &Request, allocate: &Allocate) {
        self.allocations.push(Allocation {
            client: request.client,
            user: request.user,
            transaction: request.transaction,
            key: None,
            state: State::Opening,
            granted: allocate.lifetime.granted(),
            traffic: Traffic::default(),
            expires: Duration::ZERO,
            permissions: BTreeMap::new(),
            channels: BTreeMap::new(),
        });
    }

    pub fn opened(&mut self, key: AllocationKey, relayed: SocketAddr) {
        let now = self.now;
        let allocation = self.by_key(key);
        allocation.state = State::Live { relayed };
        allocation.expires = now + allocation.granted;
    }

    /// There is no relay socket and so no allocation: what came for it belongs to none.
    pub fn refused(&mut self, key: AllocationKey) {
        let allocation = self.by_key(key);
        allocation.state = State::Gone;
        let Traffic { client_in, client_out, .. } = std::mem::take(&mut allocation.traffic);
        for (total, flow) in [(&mut self.unallocated_in, client_in), (&mut self.unallocated_out, client_out)]
        {
            total.bytes += flow.bytes;
            total.packets += flow.packets;
        }
    }

    pub fn close_all(&mut self, cause: Cause) {
        let now = self.now;
        let live = self.allocations.iter_mut().filter(|a| a.lives(now));
        live.for_each(|a| a.state = State::Ended { cause, at: now });
    }

    /// RFC 8656 §8.2.
    fn refresh(&mut self, at: usize, lifetime: Lifetime, family: Option<u8>) -> Vec<u16> {
        let defects =
            [(family.is_some_and(|family| family != 1), 443), (lifetime == Lifetime::Malformed, 400)];
        let errors: Vec<u16> =
            defects.into_iter().filter(|(is_so, _)| *is_so).map(|(_, code)| code).collect();
        let now = self.now;
        let allocation = &mut self.allocations[at];
        match (errors.is_empty(), lifetime) {
            (false, _) => {}
            (true, Lifetime::Seconds(0)) => allocation.state = State::Ended { cause: Cause::Client, at: now },
            (true, _) => allocation.expires = now + lifetime.granted(),
        }
        errors
    }

    /// RFC 8656 §10.2: all of them, or none.
    fn create_permission(&mut self, at: usize, peers: &[PeerAttribute]) -> Vec<u16> {
        let mut errors: Vec<u16> = peers.iter().filter_map(|peer| address_error(*peer)).collect();
        if peers.is_empty() {
            errors.push(400);
        }
        let ips: Vec<IpAddr> = peers.iter().filter_map(|peer| ip(*peer)).collect();
        if errors.is_empty() && !self.allocations[at].permit(&ips, self.now) {
            errors.push(508);
        }
        errors
    }

    /// RFC 8656 §12.2.
    fn channel_bind(&mut self, at: usize, number: Option<u16>, peer: Option<PeerAttribute>) -> Vec<u16> {
        let (now, allocation) = (self.now, &mut self.allocations[at]);
        let (Some(number), Some(PeerAttribute::Peer(to))) = (number, peer) else { return vec![400] };
        let mut errors: Vec<u16> = peer.and_then(address_error).into_iter().collect();
        if to.reach == Reach::NotThisPort {
            errors.push(403);
        }
        if !(0x4000..=0x4FFF).contains(&number) {
            errors.push(400);
        }
        let live =
            |(n, (peer, expires)): (&u16, &(SocketAddr, Duration))| (*expires > now).then_some((*n, *peer));
        let bound: Vec<(u16, SocketAddr)> = allocation.channels.iter().filter_map(live).collect();
        let is_bound = bound.contains(&(number, to.address));
        if !is_bound && bound.iter().any(|(n, peer)| *n == number || *peer == to.address) {
            errors.push(400);
        }
        if !is_bound && bound.len() >= MAX_CHANNELS {
            errors.push(508);
        }
        if errors.is_empty() && !allocation.permit(&[to.address.ip()], now) {
            errors.push(508);
        }
        if errors.is_empty() {
            allocation.channels.insert(number, (to.address, now + CHANNEL_LIFE));
        }
        errors
    }

    /// Whether a Send indication goes to its peer (RFC 8656 §11.2).
    pub fn sends(&self, client: usize, to: super::script::Peer) -> Option<SocketAddr> {
        let allocation = &self.allocations[self.current(client)?];
        let passes = allocation.permits(to.address.ip(), self.now, self.strict) && to.reach == Reach::Yes;
        passes.then_some(to.address)
    }

    /// Where ChannelData goes (RFC 8656 §12.6).
    pub fn channel(&self, client: usize, number: u16) -> Option<SocketAddr> {
        let allocation = &self.allocations[self.current(client)?];
        let (peer, expires) = allocation.channels.get(&number)?;
        (*expires > self.now).then_some(*peer)
    }

    /// How a peer's datagram comes to the client (RFC 8656 §11.3, §12.7).
    pub fn delivery(&self, at: usize, peer: SocketAddr) -> Delivery {
        let allocation = &self.allocations[at];
        if !allocation.lives(self.now) || !allocation.permits(peer.ip(), self.now, self.strict) {
            return Delivery::None;
        }
        let bound = |(_, (to, expires)): &(&u16, &(SocketAddr, Duration))| *to == peer && *expires > self.now;
        match allocation.channels.iter().find(bound) {
            Some((number, _)) => Delivery::ChannelData(*number),
            None => Delivery::Indication,
        }
    }

    /// Every moment at which something of a live allocation ends.
    pub fn deadlines(&self) -> Vec<Duration> {
        let live = self.allocations.iter().filter(|a| a.lives(self.now));
        let all = live.flat_map(|a| {
            let channels = a.channels.values().map(|(_, expires)| *expires);
            a.permissions.values().copied().chain(channels).chain([a.expires])
        });
        let mut all: Vec<Duration> = all.filter(|expires| *expires > self.now).collect();
        all.sort_unstable();
        all
    }
}

impl Allocation {
    pub fn lives(&self, now: Duration) -> bool {
        matches!(self.state, State::Live { .. }) && self.expires > now
    }

    /// How and when it ended, if it did.
    pub fn end(&self, now: Duration) -> Option<(Cause, Duration)> {
        match self.state {
            State::Ended { cause, at } => Some((cause, at)),
            State::Live { .. } if self.expires <= now => Some((Cause::Expired, self.expires)),
            _ => None,
        }
    }

    pub fn permissions(&self, now: Duration) -> usize {
        self.permissions.values().filter(|expires| **expires > now).count()
    }

    pub fn channels(&self, now: Duration) -> usize {
        self.channels.values().filter(|(_, expires)| *expires > now).count()
    }

    fn permits(&self, ip: IpAddr, now: Duration, strict: bool) -> bool {
        let permitted = self.permissions.get(&ip).is_some_and(|expires| *expires > now);
        let by_channel = self.channels.values().any(|(to, expires)| to.ip() == ip && *expires > now);
        permitted || !strict && by_channel
    }

    fn permit(&mut self, ips: &[IpAddr], now: Duration) -> bool {
        let mut permissions = self.permissions.clone();
        permissions.retain(|_, expires| *expires > now);
        permissions.extend(ips.iter().map(|ip| (*ip, now + PERMISSION_LIFE)));
        let fits = permissions.len() <= MAX_PERMISSIONS;
        if fits {
            self.permissions = permissions;
        }
        fits
    }
}

fn address_error(peer: PeerAttribute) -> Option<u16> {
    match peer {
        PeerAttribute::Malformed => Some(400),
        PeerAttribute::Peer(peer) => match peer.reach {
            Reach::Yes | Reach::NotThisPort => None,
            Reach::No => Some(403),
            Reach::OtherFamily => Some(443),
        },
    }
}

fn ip(peer: PeerAttribute) -> Option<IpAddr> {
    match peer {
        PeerAttribute::Peer(peer) => Some(peer.address.ip()),
        PeerAttribute::Malformed => None,
    }
}

/// Counts a datagram of `len` bytes behind the IP and UDP headers of a family.
pub fn count(flow: &mut Flow, len: usize, is_ipv4: bool) {
    flow.packets += 1;
    flow.bytes += len as u64 + if is_ipv4 { 28 } else { 48 };
}
