//! How many connections without an allocation one source may have.

use std::{
    collections::HashMap,
    hash::{BuildHasher as _, RandomState},
    net::{IpAddr, Ipv6Addr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

const STRIPES: usize = 64;
/// Connections without an allocation from one IPv4 address or one IPv6 /64.
///
/// An honest client is in that state for a few round trips, half a second on a bad link: that is 500 new calls a second
/// from behind one carrier's or campus' address. A dishonest one holds 256 files and at most 4 MiB, for at most 15 s.
const MOST: u32 = 256;

type Counts = HashMap<IpAddr, u32>;

/// Counts connections without an allocation by source.
#[derive(Debug, Default)]
pub(crate) struct Sources {
    stripes: Stripes,
    hasher: RandomState,
}

#[derive(Debug)]
struct Stripes(Box<[Mutex<Counts>]>);

impl Default for Stripes {
    fn default() -> Self {
        Self((0..STRIPES).map(|_| Mutex::default()).collect())
    }
}

/// The place of one connection; free again when dropped.
#[derive(Debug)]
pub(crate) struct SourcePermit {
    sources: Arc<Sources>,
    source: IpAddr,
}

impl Sources {
    /// `None` when the client's source has as many as it may.
    pub(crate) fn enter(self: &Arc<Self>, client: IpAddr) -> Option<SourcePermit> {
        let source = source(client);
        let mut counts = self.stripe(source);
        let count = counts.entry(source).or_insert(0);
        if *count >= MOST {
            return None;
        }
        *count += 1;
        Some(SourcePermit { sources: Arc::clone(self), source })
    }

    fn stripe(&self, source: IpAddr) -> MutexGuard<'_, Counts> {
        let stripe = self.hasher.hash_one(source) as usize % STRIPES;
        self.stripes.0[stripe].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for SourcePermit {
    fn drop(&mut self) {
        let mut counts = self.sources.stripe(self.source);
        match counts.get_mut(&self.source) {
            Some(count) if *count > 1 => *count -= 1,
            _ => {
                counts.remove(&self.source);
            }
        }
    }
}

/// One IPv6 customer has a whole /64.
fn source(client: IpAddr) -> IpAddr {
    match client {
        IpAddr::V4(_) => client,
        IpAddr::V6(ip) => Ipv6Addr::from_bits(ip.to_bits() & !u128::from(u64::MAX)).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn a_source_has_its_most_and_leaves_nothing_behind() {
        let sources = Arc::new(Sources::default());
        let held: Vec<_> = (0..MOST).map(|_| sources.enter(ip("192.0.2.1")).unwrap()).collect();
        assert!(sources.enter(ip("192.0.2.1")).is_none());
        assert!(sources.enter(ip("192.0.2.2")).is_some());
        drop(held);
        assert!(sources.enter(ip("192.0.2.1")).is_some());
        assert!(sources.stripes.0.iter().all(|counts| counts.lock().unwrap().is_empty()));
    }

    #[test]
    fn a_source_of_ipv6_is_its_64_bit_prefix() {
        let sources = Arc::new(Sources::default());
        let of_one = |nth: u32| ip(&format!("2001:db8:0:1::{nth:x}"));
        let _held: Vec<_> = (0..MOST).map(|nth| sources.enter(of_one(nth)).unwrap()).collect();
        assert!(sources.enter(ip("2001:db8:0:1:ffff:ffff:ffff:ffff")).is_none());
        assert!(sources.enter(ip("2001:db8:0:2::")).is_some());
    }
}
