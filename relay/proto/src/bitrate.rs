//! Limits of bits a second, as token buckets that hold [`BURST`] of their rate, and of bytes.
//!
//! What counts is what crosses the peers' side of an allocation: payloads in both directions, with their IP and UDP
//! headers. A datagram passes while its bucket is not in debt, whatever its length, and what it takes is owed.
//!
//! What several allocations share lies in one atomic word. They take a slice of it at a time, so that the cores of a
//! machine do not fight over that word for each datagram.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use crate::DropReason;

/// How much of its rate a bucket gives at once: a key frame of a video, not a second of everything.
const BURST: Duration = Duration::from_millis(500);
/// A slice is a hundredth of a second's bytes, within these bounds.
const SLICES_PER_SECOND: u64 = 100;
const SLICE: std::ops::RangeInclusive<u64> = 1_500..=65_536;

/// A limit of bits a second that is shared by allocations, also of several servers.
#[derive(Debug)]
pub struct SharedBucket {
    rate: Rate,
    /// When it is full again, in nanoseconds of [`crate::Now::mono`].
    full_again: AtomicU64,
}

impl SharedBucket {
    /// A full one.
    pub fn new(bits_per_second: u64) -> Self {
        Self { rate: Rate::new(bits_per_second), full_again: AtomicU64::new(0) }
    }

    /// Whether it has nothing to remember.
    pub fn is_full(&self, now: Duration) -> bool {
        self.full_again.load(Ordering::Relaxed) <= nanos(now)
    }

    fn take(&self, now: Duration, bytes: u64) -> bool {
        let take = |full_again| self.rate.take(full_again, now, bytes);
        self.full_again.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).is_ok()
    }
}

/// A limit of bytes that is shared by allocations, also of several servers.
#[derive(Debug)]
pub struct ByteQuota {
    limit: u64,
    used: AtomicU64,
}

impl ByteQuota {
    /// One of which nothing is spent.
    pub fn new(limit: u64) -> Self {
        Self { limit, used: AtomicU64::new(0) }
    }

    /// Whether nothing is left.
    pub fn is_spent(&self) -> bool {
        self.used.load(Ordering::Relaxed) >= self.limit
    }

    fn spend(&self, bytes: u64) {
        self.used.fetch_add(bytes, Ordering::Relaxed);
    }
}

/// What an allocation shares with others.
#[derive(Debug, Clone, Default)]
pub struct Shares {
    /// With all of its subject.
    pub subject: Option<Arc<SharedBucket>>,
    /// With all of its credential.
    pub credential: Option<Arc<SharedBucket>>,
    /// With all of its credential; who spends the last of it ends.
    pub bytes: Option<Arc<ByteQuota>>,
}

/// The limits of one allocation.
#[derive(Debug)]
pub(crate) struct Limiter {
    own: Option<Bucket>,
    credential: Option<Lease>,
    subject: Option<Lease>,
    bytes: Option<Arc<ByteQuota>>,
}

impl Limiter {
    /// `None` when nothing is limited, which then costs nothing. Without a limit of its own when that is 0.
    pub(crate) fn new(bits_per_second: u64, shares: Shares) -> Option<Box<Self>> {
        let Shares { subject, credential, bytes } = shares;
        let own = Bucket::new(bits_per_second);
        let limited = own.is_some() || subject.is_some() || credential.is_some() || bytes.is_some();
        limited.then(|| {
            Box::new(Self {
                own,
                credential: credential.map(Lease::new),
                subject: subject.map(Lease::new),
                bytes,
            })
        })
    }

    /// Changes what an allocation may do by itself, which is then full again; 0 is no limit.
    pub(crate) fn set_own(limiter: &mut Option<Box<Self>>, bits_per_second: u64) {
        match limiter {
            Some(limiter) => limiter.own = Bucket::new(bits_per_second),
            None => *limiter = Self::new(bits_per_second, Shares::default()),
        }
    }

    /// Whether so many bytes may pass; nothing is taken yet, so that a datagram which another limit drops costs nothing
    /// here.
    pub(crate) fn check(&mut self, now: Duration, bytes: u64) -> Result<(), DropReason> {
        if self.is_spent() {
            return Err(DropReason::ByteQuota);
        }
        if self.own.as_ref().is_some_and(|own| !own.has_room(now)) {
            return Err(DropReason::AllocationBitrate);
        }
        if self.credential.as_mut().is_some_and(|lease| !lease.reaches(now, bytes)) {
            return Err(DropReason::CredentialBitrate);
        }
        match self.subject.as_mut().is_some_and(|lease| !lease.reaches(now, bytes)) {
            true => Err(DropReason::SubjectBitrate),
            false => Ok(()),
        }
    }

    /// Takes what [`Self::check`] has found.
    pub(crate) fn take(&mut self, now: Duration, bytes: u64) {
        if let Some(own) = &mut self.own {
            own.take(now, bytes);
        }
        for lease in [&mut self.credential, &mut self.subject].into_iter().flatten() {
            lease.take(bytes);
        }
        if let Some(quota) = &self.bytes {
            quota.spend(bytes);
        }
    }

    /// Whether its credential has no bytes left.
    pub(crate) fn is_spent(&self) -> bool {
        self.bytes.as_ref().is_some_and(|bytes| bytes.is_spent())
    }
}

/// A slice of a shared bucket.
#[derive(Debug)]
pub(crate) struct Lease {
    bucket: Arc<SharedBucket>,
    bytes: u64,
}

impl Lease {
    pub(crate) fn new(bucket: Arc<SharedBucket>) -> Self {
        Self { bucket, bytes: 0 }
    }

    /// Whether it holds so many bytes, or gets them now.
    pub(crate) fn reaches(&mut self, now: Duration, bytes: u64) -> bool {
        if self.bytes < bytes {
            let more = self.bucket.rate.slice().max(bytes - self.bytes);
            if self.bucket.take(now, more) {
                self.bytes += more;
            }
        }
        self.bytes >= bytes
    }

    /// Takes bytes that it holds.
    pub(crate) fn take(&mut self, bytes: u64) {
        self.bytes -= bytes;
    }
}

/// A bucket of one allocation.
#[derive(Debug)]
struct Bucket {
    rate: Rate,
    full_again: u64,
}

impl Bucket {
    /// A full one; `None` of 0.
    fn new(bits_per_second: u64) -> Option<Self> {
        (bits_per_second > 0).then(|| Self { rate: Rate::new(bits_per_second), full_again: 0 })
    }

    fn has_room(&self, now: Duration) -> bool {
        self.rate.take(self.full_again, now, 0).is_some()
    }

    fn take(&mut self, now: Duration, bytes: u64) {
        if let Some(full_again) = self.rate.take(self.full_again, now, bytes) {
            self.full_again = full_again;
        }
    }
}

#[derive(Debug, Clone, Copy)]
struct Rate {
    bits_per_second: u64,
}

impl Rate {
    /// One of 0 lets next to nothing through.
    fn new(bits_per_second: u64) -> Self {
        Self { bits_per_second: bits_per_second.max(1) }
    }

    /// When a bucket is full again that gives so many bytes now; `None` when it is in debt.
    fn take(self, full_again: u64, now: Duration, bytes: u64) -> Option<u64> {
        let (now, cost) = (nanos(now), bytes.saturating_mul(8_000_000_000) / self.bits_per_second);
        (full_again <= now.saturating_add(nanos(BURST))).then(|| full_again.max(now).saturating_add(cost))
    }

    fn slice(self) -> u64 {
        (self.bits_per_second / 8 / SLICES_PER_SECOND).clamp(*SLICE.start(), *SLICE.end())
    }
}

/// Enough for 584 years.
fn nanos(time: Duration) -> u64 {
    time.as_nanos() as u64
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    const START: Duration = Duration::from_secs(100);

    /// Bytes that pass of datagrams of `len` bytes, offered each `every` for `length`.
    fn passed(lease: &mut Lease, from: Duration, length: Duration, every: Duration, len: u64) -> u64 {
        let mut passed = 0;
        let mut now = from;
        while now < from + length {
            if lease.reaches(now, len) {
                lease.take(len);
                passed += len;
            }
            now += every;
        }
        passed
    }

    #[test]
    fn a_bucket_gives_its_burst_and_then_its_rate_at_any_rate_and_length() {
        for rate in [64_000, 1_000_000, 50_000_000, 1_000_000_000] {
            for len in [60, 1_200, 60_000] {
                let bucket = Arc::new(SharedBucket::new(rate));
                let mut lease = Lease::new(Arc::clone(&bucket));
                let every = Duration::from_nanos(len * 8_000_000_000 / rate / 4);
                let passed = passed(&mut lease, START, Duration::from_secs(2), every, len);
                let fair = rate / 8 * 5 / 2;
                // One slice may be left over, and one datagram may make debts.
                let off = fair / 50 + bucket.rate.slice() + len;
                assert!(passed.abs_diff(fair) <= off, "{passed} of {fair} at {rate} by {len}");
            }
        }
    }

    #[test]
    fn a_datagram_that_is_longer_than_the_burst_passes_and_is_owed() {
        let mut lease = Lease::new(Arc::new(SharedBucket::new(8_000)));
        assert!(lease.reaches(START, 10_000));
        lease.take(10_000);
        let after = |seconds| START + Duration::from_secs(seconds);
        assert!(!lease.reaches(after(9), 1) && lease.reaches(after(10), 1));
    }

    #[test]
    fn a_rate_of_zero_lets_next_to_nothing_through() {
        let mut lease = Lease::new(Arc::new(SharedBucket::new(0)));
        assert_eq!(
            passed(&mut lease, START, Duration::from_secs(3600), Duration::from_millis(100), 100),
            1_500
        );
    }

    #[test]
    fn threads_together_get_what_one_would() {
        let bucket = Arc::new(SharedBucket::new(80_000_000));
        let total: u64 = thread::scope(|scope| {
            let threads: Vec<_> = (0..4)
                .map(|_| {
                    let mut lease = Lease::new(Arc::clone(&bucket));
                    scope.spawn(move || {
                        passed(&mut lease, START, Duration::from_secs(1), Duration::from_micros(20), 1_000)
                    })
                })
                .collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).sum()
        });
        // Their clocks run apart, so that whoever is ahead uses what the others then lack.
        assert!(total <= 15_000_000 + 4 * 65_536, "{total}");
        assert!(total >= 14_000_000, "{total}");
    }
}
