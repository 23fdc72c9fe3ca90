//! How many may be inside, together and of one address.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::Notify;
use turnpike_config::source_prefix;

use super::{Limits, Outcome};

#[derive(Debug)]
pub(super) struct Places {
    limits: Limits,
    taken: Mutex<Taken>,
    left: Notify,
}

#[derive(Debug, Default)]
struct Taken {
    total: usize,
    /// Never zero.
    by_source: HashMap<IpAddr, usize>,
}

/// A place inside, free again when dropped.
pub(super) struct Place {
    places: Arc<Places>,
    source: IpAddr,
}

impl Places {
    pub(super) fn new(limits: Limits) -> Self {
        Self { limits, taken: Mutex::default(), left: Notify::new() }
    }

    /// A place for a visitor of this address.
    ///
    /// # Errors
    /// Which limit is reached.
    pub(super) fn take(self: &Arc<Self>, client: IpAddr) -> Result<Place, Outcome> {
        let source = source_prefix(client);
        let mut taken = self.lock();
        if taken.total >= self.limits.visitors {
            return Err(Outcome::Full);
        }
        let of_source = taken.by_source.get(&source).copied().unwrap_or(0);
        if of_source >= self.limits.visitors_per_source {
            return Err(Outcome::AddressFull);
        }
        taken.by_source.insert(source, of_source + 1);
        taken.total += 1;
        Ok(Place { places: Arc::clone(self), source })
    }

    pub(super) fn taken(&self) -> usize {
        self.lock().total
    }

    pub(super) async fn until_empty(&self) {
        loop {
            let left = self.left.notified();
            if self.taken() == 0 {
                return;
            }
            left.await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.places.lock();
        taken.total -= 1;
        let of_source = taken.by_source.get_mut(&self.source).expect("a place that is taken is counted");
        *of_source -= 1;
        if *of_source == 0 {
            taken.by_source.remove(&self.source);
        }
        drop(taken);
        self.places.left.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places(visitors: usize, visitors_per_source: usize) -> Arc<Places> {
        Arc::new(Places::new(Limits { visitors, visitors_per_source }))
    }

    #[test]
    fn an_ipv6_64_is_one_address_and_no_address_takes_all_places() {
        let places = places(4, 2);
        let take = |ip: &str| places.take(ip.parse().unwrap());
        let first = take("2001:db8::1");
        let _second = take("2001:db8::2:3:4:5");
        assert_eq!(take("2001:db8::9").err(), Some(Outcome::AddressFull));
        let (_other_net, _v4) = (take("2001:db8:0:1::1"), take("192.0.2.1"));
        assert_eq!(take("192.0.2.2").err(), Some(Outcome::Full));
        drop(first);
        assert!(take("2001:db8::9").is_ok());
    }

    #[tokio::test]
    async fn nothing_is_kept_of_who_has_left() {
        let places = places(10, 10);
        let inside = [1, 2, 3].map(|host| places.take([192, 0, 2, host].into()).ok());
        let waiting = tokio::spawn({
            let places = Arc::clone(&places);
            async move { places.until_empty().await }
        });
        assert_eq!(places.taken(), 3);
        drop(inside);
        waiting.await.unwrap();
        assert!(places.lock().by_source.is_empty());
    }
}
