//! Limits by rate and by source.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use turnpike_config::source_prefix;

/// A bucket that holds `burst` tokens and gets `per_second` more.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bucket {
    interval: Duration,
    burst: u32,
    full_at: Duration,
}

impl Bucket {
    pub(crate) fn new(per_second: u32, burst: u32) -> Self {
        Self { interval: Duration::from_secs(1) / per_second, burst, full_at: Duration::ZERO }
    }

    /// Takes a token.
    ///
    /// # Errors
    /// How long to wait for one.
    pub(crate) fn take(&mut self, now: Duration) -> Result<(), Duration> {
        let full_at = self.full_at.max(now) + self.interval;
        match full_at.checked_sub(now + self.interval * self.burst) {
            Some(wait) if wait > Duration::ZERO => Err(wait),
            _ => {
                self.full_at = full_at;
                Ok(())
            }
        }
    }
}

/// Sources whose requests are remembered; past them, unknown sources wait for one to be forgotten.
const SOURCES: usize = 20_000;
const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);

/// Requests of one kind of each IPv4 address or IPv6 /64.
#[derive(Debug)]
pub(crate) struct SourceLimit {
    per_minute: u32,
    per_hour: u32,
    sources: Mutex<HashMap<IpAddr, [Window; 2]>>,
}

#[derive(Debug, Clone, Copy)]
struct Window {
    ends: Duration,
    used: u32,
}

impl SourceLimit {
    pub(crate) fn new(per_minute: u32, per_hour: u32) -> Self {
        Self { per_minute, per_hour, sources: Mutex::default() }
    }

    /// Counts a request.
    ///
    /// # Errors
    /// How long the source has to wait.
    pub(crate) fn take(&self, now: Duration, source: IpAddr) -> Result<(), Duration> {
        let mut sources = self.sources.lock().unwrap_or_else(PoisonError::into_inner);
        let source = source_prefix(source);
        if sources.len() >= SOURCES && !sources.contains_key(&source) {
            sources.retain(|_, windows| windows.iter().any(|window| window.ends > now));
            if sources.len() >= SOURCES {
                return Err(MINUTE);
            }
        }
        let fresh = [MINUTE, HOUR].map(|length| Window { ends: now + length, used: 0 });
        let windows = sources.entry(source).or_insert(fresh);
        for (window, fresh) in windows.iter_mut().zip(fresh) {
            if window.ends <= now {
                *window = fresh;
            }
        }
        let limits = [self.per_minute, self.per_hour];
        let full = windows.iter().zip(limits).filter(|(window, limit)| window.used >= *limit);
        if let Some(wait) = full.map(|(window, _)| window.ends - now).max() {
            return Err(wait);
        }
        windows.iter_mut().for_each(|window| window.used += 1);
        Ok(())
    }
}

/// Counts open connections, in total and by source.
#[derive(Debug)]
pub(crate) struct Connections {
    most: usize,
    most_per_source: usize,
    open: Mutex<Open>,
}

#[derive(Debug, Default)]
struct Open {
    total: usize,
    by_source: HashMap<IpAddr, usize>,
}

/// One open connection; it ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Connection {
    connections: Arc<Connections>,
    source: IpAddr,
}

impl Connections {
    pub(crate) fn new(most: usize, most_per_source: usize) -> Self {
        Self { most, most_per_source, open: Mutex::default() }
    }

    /// `None` when there are as many as there may be.
    pub(crate) fn enter(self: &Arc<Self>, address: IpAddr) -> Option<Connection> {
        let source = source_prefix(address);
        let mut open = self.open();
        let of_source = open.by_source.get(&source).copied().unwrap_or(0);
        if open.total >= self.most || of_source >= self.most_per_source {
            return None;
        }
        open.total += 1;
        open.by_source.insert(source, of_source + 1);
        Some(Connection { connections: Arc::clone(self), source })
    }

    fn open(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        let mut open = self.connections.open();
        open.total -= 1;
        match open.by_source.get_mut(&self.source) {
            Some(count) if *count > 1 => *count -= 1,
            _ => {
                open.by_source.remove(&self.source);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(seconds: f64) -> Duration {
        Duration::from_secs_f64(seconds)
    }

    #[test]
    fn a_bucket_gives_its_burst_and_then_its_rate() {
        let mut bucket = Bucket::new(20, 60);
        assert_eq!((0..100).filter(|_| bucket.take(seconds(9.0)).is_ok()).count(), 60);
        let wait = bucket.take(seconds(9.0)).unwrap_err();
        assert!(wait <= seconds(0.051), "{wait:?}");
        assert_eq!((0..100).filter(|_| bucket.take(seconds(10.0)).is_ok()).count(), 20);
    }

    #[test]
    fn mints_are_limited_by_minute_and_by_hour_and_by_source() {
        let limit = SourceLimit::new(3, 5);
        let one: IpAddr = "192.0.2.1".parse().unwrap();
        assert_eq!((0..9).filter(|_| limit.take(seconds(0.0), one).is_ok()).count(), 3);
        assert_eq!(limit.take(seconds(10.0), one), Err(seconds(50.0)));
        assert_eq!((0..9).filter(|_| limit.take(seconds(60.0), one).is_ok()).count(), 2);
        assert_eq!(limit.take(seconds(120.0), one), Err(seconds(3480.0)));
        assert!(limit.take(seconds(120.0), "192.0.2.2".parse().unwrap()).is_ok());
        let same_64 = ["2001:db8::1", "2001:db8::2", "2001:db8::3", "2001:db8::4"];
        let good = same_64.iter().filter(|ip| limit.take(seconds(0.0), ip.parse().unwrap()).is_ok());
        assert_eq!(good.count(), 3);
    }

    #[test]
    fn connections_are_limited_in_total_and_by_source_and_come_back() {
        let connections = Arc::new(Connections::new(3, 2));
        let one: IpAddr = "192.0.2.1".parse().unwrap();
        let first = connections.enter(one).unwrap();
        let _second = connections.enter(one).unwrap();
        assert!(connections.enter(one).is_none());
        let _third = connections.enter("192.0.2.2".parse().unwrap()).unwrap();
        assert!(connections.enter("192.0.2.3".parse().unwrap()).is_none());
        drop(first);
        assert!(connections.enter(one).is_some());
    }
}
