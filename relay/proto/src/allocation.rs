//! One allocation: its permissions, channels and counters (RFC 8656 §6, §9, §12).

use std::{
    fmt,
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use turnpike_relay_api::admin::{Flow, Traffic};

use crate::{
    ByFamily, Cause, ErrorCode, Family, FiveTuple, Route, address::header_overhead, auth::User,
    bitrate::Limiter, wire::TransactionId,
};

/// RFC 8656 §9.
pub(crate) const PERMISSION_LIFE: Duration = Duration::from_secs(300);
/// RFC 8656 §12.
pub(crate) const CHANNEL_LIFE: Duration = Duration::from_secs(600);
/// ICMP errors that a client is told of in a second: enough to find a path's MTU, too few to be worth forging.
const ICMP_PER_SECOND: u32 = 10;

/// The random id of an allocation; shown as 22 characters of base64url.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct AllocationId(pub(crate) [u8; 16]);

impl From<[u8; 16]> for AllocationId {
    fn from(id: [u8; 16]) -> Self {
        Self(id)
    }
}

impl fmt::Display for AllocationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&URL_SAFE_NO_PAD.encode(self.0))
    }
}

impl fmt::Debug for AllocationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Where an allocation stands. Its slot is free again only when the driver has released it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    /// The relay socket is being bound; the Allocate is not answered yet.
    Opening,
    /// Serving.
    Live,
    /// Ended; what the driver still has in hand is being flushed and counted.
    Closing { cause: Cause, at: Duration },
}

#[derive(Debug, Clone, Copy)]
struct Permission {
    ip: IpAddr,
    expires: Duration,
}

/// A bound channel.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Channel {
    pub(crate) number: u16,
    pub(crate) peer: SocketAddr,
    pub(crate) route: Route,
    expires: Duration,
}

/// A relayed address. Each of two has a time of its own (RFC 8656 §8.1).
#[derive(Debug, Clone, Copy)]
struct Relayed {
    address: SocketAddr,
    expires: Duration,
    /// Its end is known to the driver.
    is_closed: bool,
}

/// Why a channel cannot be bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BindError {
    /// The number is another peer's, or the peer has another number (RFC 8656 §12.2).
    Taken,
    /// As many channels or permissions as there may be.
    TooMany,
}

/// One allocation.
#[derive(Debug)]
pub struct Allocation {
    pub(crate) id: AllocationId,
    pub(crate) state: State,
    pub(crate) five_tuple: FiveTuple,
    pub(crate) user: User,
    pub(crate) subject: Box<str>,
    pub(crate) credential_expires: Option<u64>,
    /// Of the Allocate, whose retransmission gets the same answer (RFC 8656 §7.2).
    pub(crate) transaction_id: TransactionId,
    /// Which relayed addresses were asked for.
    pub(crate) asked: ByFamily<bool>,
    /// One that was asked for and not given.
    pub(crate) refused: Option<(Family, ErrorCode)>,
    relayed: ByFamily<Option<Relayed>>,
    pub(crate) reservation: Option<[u8; 8]>,
    /// Its client's stream ended while the relay socket was being bound.
    pub(crate) lost: bool,
    /// The node tries itself with it.
    pub(crate) is_self_test: bool,
    /// What the Allocate was given.
    pub(crate) granted: Duration,
    pub(crate) opened: Duration,
    permissions: Vec<Permission>,
    channels: Vec<Channel>,
    /// By the family of each leg's addresses.
    traffic: ByFamily<Traffic>,
    /// When the second began in which so many ICMP errors were told of.
    icmp: (Duration, u32),
    /// `None` when nothing of it is limited.
    pub(crate) limiter: Option<Box<Limiter>>,
}

impl Allocation {
    pub(crate) fn new(
        id: AllocationId,
        five_tuple: FiveTuple,
        user: User,
        subject: Box<str>,
        transaction_id: TransactionId,
        granted: Duration,
        now: Duration,
    ) -> Self {
        Self {
            id,
            state: State::Opening,
            five_tuple,
            user,
            subject,
            credential_expires: None,
            transaction_id,
            asked: ByFamily::default(),
            refused: None,
            relayed: ByFamily::default(),
            reservation: None,
            lost: false,
            is_self_test: false,
            granted,
            opened: now,
            permissions: Vec::new(),
            channels: Vec::new(),
            traffic: ByFamily::default(),
            icmp: (Duration::ZERO, 0),
            limiter: None,
        }
    }

    /// Its relay sockets are bound.
    pub(crate) fn start(&mut self, addresses: &ByFamily<Option<SocketAddr>>, now: Duration) {
        self.state = State::Live;
        self.opened = now;
        let expires = now + self.granted;
        self.relayed = ByFamily::from_fn(|family| {
            addresses[family].map(|address| Relayed { address, expires, is_closed: false })
        });
        let missing = Family::ALL.into_iter().find(|f| self.asked[*f] && addresses[*f].is_none());
        if let Some(family) = missing {
            self.refused = Some((family, ErrorCode::InsufficientCapacity));
        }
    }

    /// Random, and unlike any other.
    pub fn id(&self) -> AllocationId {
        self.id
    }

    /// The subject of its credential.
    pub fn subject(&self) -> &str {
        &self.subject
    }

    /// When its credential expires, in Unix seconds; that of a static user never does.
    pub fn credential_expires(&self) -> Option<u64> {
        self.credential_expires
    }

    /// Whether the node tries itself with it.
    pub fn is_self_test(&self) -> bool {
        self.is_self_test
    }

    /// Its client.
    pub fn five_tuple(&self) -> &FiveTuple {
        &self.five_tuple
    }

    /// The addresses that peers see, also of one that has ended before the other.
    pub fn relayed(&self) -> ByFamily<Option<SocketAddr>> {
        ByFamily::from_fn(|family| self.relayed[family].map(|relayed| relayed.address))
    }

    /// When it began, in [`crate::Now::mono`].
    pub fn opened(&self) -> Duration {
        self.opened
    }

    /// When it ends unless refreshed, in [`crate::Now::mono`].
    pub fn expires(&self) -> Duration {
        let all = self.relayed.iter().filter_map(|(_, relayed)| relayed.as_ref());
        all.map(|relayed| relayed.expires).max().unwrap_or_default()
    }

    /// Live permissions, without those that only a channel keeps alive.
    pub fn permissions(&self, now: Duration) -> usize {
        let live = |p: &&Permission| p.expires > now && self.serves(Family::of(p.ip), now);
        self.permissions.iter().filter(live).count()
    }

    /// Bound channels.
    pub fn channels(&self, now: Duration) -> usize {
        let live = |c: &&Channel| c.expires > now && self.serves(Family::of(c.peer.ip()), now);
        self.channels.iter().filter(live).count()
    }

    /// What has flowed, at the IP layer, by the family of each leg.
    pub fn traffic(&self) -> ByFamily<Traffic> {
        self.traffic
    }

    pub(crate) fn is_live(&self, now: Duration) -> bool {
        self.state == State::Live && self.expires() > now
    }

    /// Whether it has a live relayed address of this family.
    pub(crate) fn serves(&self, family: Family, now: Duration) -> bool {
        self.relayed[family].is_some_and(|relayed| relayed.expires > now)
    }

    /// Refreshes the relayed address of a family if it lives.
    pub(crate) fn refresh(&mut self, family: Family, now: Duration, lifetime: Duration) {
        if self.serves(family, now) {
            self.relayed[family].as_mut().expect("it serves").expires = now + lifetime;
        }
    }

    /// Ends one relayed address, with the permissions and channels of its family and no others (RFC 8656 §8.1).
    pub(crate) fn end_address(&mut self, family: Family, now: Duration) {
        if let Some(relayed) = &mut self.relayed[family] {
            relayed.expires = relayed.expires.min(now);
        }
        self.sweep(now);
    }

    /// A relayed address whose time has come before that of the other, told once.
    pub(crate) fn take_expired_address(&mut self, now: Duration) -> Option<Family> {
        let expired = |relayed: &mut Relayed| relayed.expires <= now && !relayed.is_closed;
        let (family, relayed) = self
            .relayed
            .iter_mut()
            .filter_map(|(family, relayed)| Some((family, relayed.as_mut()?)))
            .find_map(|(family, relayed)| expired(relayed).then_some((family, relayed)))?;
        relayed.is_closed = true;
        Some(family)
    }

    /// Whether data passes between the client and this peer (RFC 8656 §9).
    ///
    /// Deviation: unless `strict`, a bound channel keeps its peer's permission alive, as coturn does: clients that
    /// bind again after 500 s and never send CreatePermission would go deaf after 300 s.
    pub(crate) fn permits(&self, ip: IpAddr, now: Duration, strict: bool) -> bool {
        let permitted = self.permissions.iter().any(|p| p.ip == ip && p.expires > now)
            || !strict && self.channels.iter().any(|c| c.peer.ip() == ip && c.expires > now);
        permitted && self.serves(Family::of(ip), now)
    }

    /// Installs or refreshes permissions for all of `ips` or for none (RFC 8656 §10.2); false when there would be too
    /// many.
    pub(crate) fn permit(&mut self, ips: &[IpAddr], now: Duration, most: usize) -> bool {
        self.sweep(now);
        let is_new = |ip: &IpAddr| self.permissions.iter().all(|p| p.ip != *ip);
        let mut new: Vec<IpAddr> = ips.iter().copied().filter(is_new).collect();
        new.sort_unstable();
        new.dedup();
        if self.permissions.len() + new.len() > most {
            return false;
        }
        let expires = now + PERMISSION_LIFE;
        self.permissions.iter_mut().filter(|p| ips.contains(&p.ip)).for_each(|p| p.expires = expires);
        self.permissions.extend(new.into_iter().map(|ip| Permission { ip, expires }));
        true
    }

    pub(crate) fn channel(&self, number: u16, now: Duration) -> Option<&Channel> {
        let bound = self.channels.iter().find(|c| c.number == number && c.expires > now);
        bound.filter(|channel| self.serves(Family::of(channel.peer.ip()), now))
    }

    pub(crate) fn channel_to(&self, peer: SocketAddr, now: Duration) -> Option<&Channel> {
        self.channels.iter().find(|c| c.peer == peer && c.expires > now)
    }

    /// Binds or refreshes a channel, and its peer's permission with it (RFC 8656 §12.2).
    pub(crate) fn bind(
        &mut self,
        number: u16,
        peer: SocketAddr,
        route: Route,
        now: Duration,
        most: &Limits,
    ) -> Result<(), BindError> {
        self.sweep(now);
        let same = self.channels.iter().position(|c| c.number == number && c.peer == peer);
        if same.is_none() && self.channels.iter().any(|c| c.number == number || c.peer == peer) {
            return Err(BindError::Taken);
        }
        if same.is_none() && self.channels.len() >= most.channels
            || !self.permit(&[peer.ip()], now, most.permissions)
        {
            return Err(BindError::TooMany);
        }
        let expires = now + CHANNEL_LIFE;
        match same {
            Some(place) => self.channels[place].expires = expires,
            None => self.channels.push(Channel { number, peer, route, expires }),
        }
        Ok(())
    }

    /// Frees what has expired; whether it counts is decided where it is used.
    pub(crate) fn sweep(&mut self, now: Duration) {
        let served = ByFamily::from_fn(|family| self.serves(family, now));
        self.permissions.retain(|p| p.expires > now && served[Family::of(p.ip)]);
        self.channels.retain(|c| c.expires > now && served[Family::of(c.peer.ip())]);
    }

    /// Whether the client may be told of one more ICMP error.
    pub(crate) fn may_tell_of_icmp(&mut self, now: Duration) -> bool {
        let (start, told) = &mut self.icmp;
        if now.saturating_sub(*start) >= Duration::from_secs(1) {
            (*start, *told) = (now, 0);
        }
        *told += 1;
        *told <= ICMP_PER_SECOND
    }

    pub(crate) fn count_client_in(&mut self, payload_len: usize) {
        let family = Family::of(self.five_tuple.client.ip());
        count(&mut self.traffic[family].client_in, payload_len, family);
    }

    pub(crate) fn count_client_out(&mut self, payload_len: usize) {
        let family = Family::of(self.five_tuple.client.ip());
        count(&mut self.traffic[family].client_out, payload_len, family);
    }

    /// Of a stream, whose bytes and segments are counted apart.
    pub(crate) fn add_client_in(&mut self, flow: &Flow) {
        self.traffic[Family::of(self.five_tuple.client.ip())].client_in.add(flow);
    }

    pub(crate) fn add_client_out(&mut self, flow: &Flow) {
        self.traffic[Family::of(self.five_tuple.client.ip())].client_out.add(flow);
    }

    pub(crate) fn count_peer_in(&mut self, family: Family, payload_len: usize) {
        count(&mut self.traffic[family].peer_in, payload_len, family);
    }

    pub(crate) fn count_peer_out(&mut self, family: Family, payload_len: usize) {
        count(&mut self.traffic[family].peer_out, payload_len, family);
    }

    pub(crate) fn count_hairpin(&mut self, family: Family, payload_len: usize) {
        self.count_peer_out(family, payload_len);
        count(&mut self.traffic[family].hairpin, payload_len, family);
    }
}

/// Most of what one allocation may hold.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    pub(crate) permissions: usize,
    pub(crate) channels: usize,
}

/// One datagram of `payload_len` bytes behind the headers of its family.
pub(crate) fn count(flow: &mut Flow, payload_len: usize, family: Family) {
    flow.packets += 1;
    flow.bytes += payload_len as u64 + header_overhead(family);
}
