//! One allocation, its permissions and its channels (RFC 8656 §3.2, §9, §12). What has expired is ignored, not freed.

use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use turnpike_proto::{AllocationKey, ByFamily, Cause, Family};
use turnpike_relay_api::admin::Traffic;

use super::super::driver::Addresses;

pub const MAX_PERMISSIONS: usize = 4;
pub const MAX_CHANNELS: usize = 3;
const PERMISSION_LIFE: Duration = Duration::from_secs(300);
const CHANNEL_LIFE: Duration = Duration::from_secs(600);

pub struct Allocation {
    pub client: usize,
    pub user: usize,
    pub transaction: u8,
    pub key: Option<AllocationKey>,
    pub state: State,
    /// Its client's connection ended while its relay socket was being bound.
    pub is_lost: bool,
    pub granted: Duration,
    pub traffic: ByFamily<Traffic>,
    /// Which relayed addresses were asked for.
    pub asked: ByFamily<bool>,
    /// The family that was asked for besides and not given, and why.
    pub refused: Option<(Family, u16)>,
    /// What the Allocate was answered with.
    pub relayed: Addresses,
    expires: ByFamily<Duration>,
    permissions: BTreeMap<IpAddr, Duration>,
    channels: BTreeMap<u16, (SocketAddr, Duration)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    Opening,
    Live,
    Ended {
        cause: Cause,
        at: Duration,
    },
    /// Its relay socket could not be bound, or its final record is written.
    Gone,
}

impl Allocation {
    pub fn opening(client: usize, user: usize, transaction: u8, granted: Duration) -> Self {
        Self {
            client,
            user,
            transaction,
            key: None,
            state: State::Opening,
            is_lost: false,
            granted,
            traffic: ByFamily::default(),
            asked: ByFamily::default(),
            refused: None,
            relayed: ByFamily::default(),
            expires: ByFamily::default(),
            permissions: BTreeMap::new(),
            channels: BTreeMap::new(),
        }
    }

    pub fn opened(&mut self, relayed: Addresses, now: Duration) {
        self.state = match self.is_lost {
            true => State::Ended { cause: Cause::Lost, at: now },
            false => State::Live,
        };
        self.relayed = relayed;
        self.expires = ByFamily::from_fn(|f| relayed[f].map_or(Duration::ZERO, |_| now + self.granted));
        let missing = Family::ALL.into_iter().find(|f| self.asked[*f] && relayed[*f].is_none());
        self.refused = missing.map(|family| (family, 508)).or(self.refused);
    }

    /// RFC 8656 §8.2: one relayed address, or all of them. What has ended stays so.
    pub fn refresh(&mut self, lifetime: Duration, one: Option<Family>, now: Duration) {
        let meant = |family: Family| one.is_none_or(|one| one == family);
        for family in Family::ALL.into_iter().filter(|family| meant(*family)) {
            if self.serves(family, now) {
                self.expires[family] = now + lifetime;
            }
        }
        if lifetime.is_zero() && !Family::ALL.into_iter().any(|family| self.serves(family, now)) {
            self.state = State::Ended { cause: Cause::Client, at: now };
        }
    }

    /// Its client waits for it.
    pub fn is_opening(&self) -> bool {
        self.state == State::Opening && !self.is_lost
    }

    pub fn lives(&self, now: Duration) -> bool {
        Family::ALL.into_iter().any(|family| self.serves(family, now))
    }

    pub fn serves(&self, family: Family, now: Duration) -> bool {
        self.state == State::Live && self.expires[family] > now
    }

    fn expires(&self) -> Duration {
        self.expires[Family::Ipv4].max(self.expires[Family::Ipv6])
    }

    /// How and when it ended, if it did.
    pub fn end(&self, now: Duration) -> Option<(Cause, Duration)> {
        match self.state {
            State::Ended { cause, at } => Some((cause, at)),
            State::Live if self.expires() <= now => Some((Cause::Expired, self.expires())),
            _ => None,
        }
    }

    pub fn permissions(&self, now: Duration) -> usize {
        let live = |ip: &IpAddr, expires: Duration| expires > now && self.serves(Family::of(*ip), now);
        self.permissions.iter().filter(|(ip, expires)| live(ip, **expires)).count()
    }

    /// Numbers and peers.
    pub fn channels(&self, now: Duration) -> impl Iterator<Item = (u16, SocketAddr)> {
        let live = move |peer: &SocketAddr, expires: Duration| {
            expires > now && self.serves(Family::of(peer.ip()), now)
        };
        let all = self.channels.iter();
        all.filter(move |(_, (peer, expires))| live(peer, *expires))
            .map(|(number, (peer, _))| (*number, *peer))
    }

    /// Every moment at which something ends.
    pub fn deadlines(&self) -> impl Iterator<Item = Duration> {
        let channels = self.channels.values().map(|(_, expires)| *expires);
        let addresses = self.expires.iter().map(|(_, expires)| *expires);
        self.permissions.values().copied().chain(channels).chain(addresses)
    }

    pub fn permits(&self, ip: IpAddr, now: Duration, strict: bool) -> bool {
        let permitted = self.permissions.get(&ip).is_some_and(|expires| *expires > now);
        let permitted = permitted || !strict && self.channels(now).any(|(_, peer)| peer.ip() == ip);
        permitted && self.serves(Family::of(ip), now)
    }

    /// Installs or refreshes all of them, or none.
    pub fn permit(&mut self, ips: &[IpAddr], now: Duration) -> Vec<u16> {
        let mut permissions = self.permissions.clone();
        permissions.retain(|ip, expires| *expires > now && self.serves(Family::of(*ip), now));
        permissions.extend(ips.iter().map(|ip| (*ip, now + PERMISSION_LIFE)));
        if permissions.len() > MAX_PERMISSIONS {
            return vec![508];
        }
        self.permissions = permissions;
        vec![]
    }

    pub fn bind(&mut self, number: u16, peer: SocketAddr, now: Duration) -> Vec<u16> {
        let bound: Vec<(u16, SocketAddr)> = self.channels(now).collect();
        let is_new = !bound.contains(&(number, peer));
        let mut errors = Vec::new();
        if is_new && bound.iter().any(|(n, p)| *n == number || *p == peer) {
            errors.push(400);
        }
        if is_new && bound.len() >= MAX_CHANNELS {
            errors.push(508);
        }
        if errors.is_empty() {
            errors = self.permit(&[peer.ip()], now);
        }
        if errors.is_empty() {
            self.channels.insert(number, (peer, now + CHANNEL_LIFE));
        }
        errors
    }
}
