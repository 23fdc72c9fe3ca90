//! One allocation, its permissions and its channels (RFC 8656 §3.2, §9, §12). What has expired is ignored, not freed.

use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use turnpike_proto::{AllocationKey, Cause};
use turnpike_relay_api::admin::Traffic;

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

impl Allocation {
    pub fn opening(client: usize, user: usize, transaction: u8, granted: Duration) -> Self {
        Self {
            client,
            user,
            transaction,
            key: None,
            state: State::Opening,
            granted,
            traffic: Traffic::default(),
            expires: Duration::ZERO,
            permissions: BTreeMap::new(),
            channels: BTreeMap::new(),
        }
    }

    pub fn refresh(&mut self, lifetime: Duration, now: Duration) {
        match lifetime.is_zero() {
            true => self.state = State::Ended { cause: Cause::Client, at: now },
            false => self.expires = now + lifetime,
        }
    }

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

    /// Numbers and peers.
    pub fn channels(&self, now: Duration) -> impl Iterator<Item = (u16, SocketAddr)> {
        let all = self.channels.iter();
        all.filter(move |(_, (_, expires))| *expires > now).map(|(number, (peer, _))| (*number, *peer))
    }

    /// Every moment at which something ends.
    pub fn deadlines(&self) -> impl Iterator<Item = Duration> {
        let channels = self.channels.values().map(|(_, expires)| *expires);
        self.permissions.values().copied().chain(channels).chain([self.expires])
    }

    pub fn permits(&self, ip: IpAddr, now: Duration, strict: bool) -> bool {
        let permitted = self.permissions.get(&ip).is_some_and(|expires| *expires > now);
        permitted || !strict && self.channels(now).any(|(_, peer)| peer.ip() == ip)
    }

    /// Installs or refreshes all of them, or none.
    pub fn permit(&mut self, ips: &[IpAddr], now: Duration) -> Vec<u16> {
        let mut permissions = self.permissions.clone();
        permissions.retain(|_, expires| *expires > now);
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
