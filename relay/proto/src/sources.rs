//! How often one source is answered before anything proves that it is where it claims to be (RFC 8656 §21.3.1): a forged
//! address must not turn this server into a reflector.
//!
//! One table serves all shards of a process: SO_REUSEPORT spreads the ports of one source over them. It is a cache of
//! fixed size, sets of eight places, each one atomic word: 16 bits of the source's hash, and 48 bits of the microsecond at
//! which its bucket is full again. A place whose moment has passed is free.
//!
//! A source without a place takes the emptiest of its set, and what is owed on it: together the sources of a set never
//! get more answers than their places grant, and whoever stays within its rate owes next to nothing. The hash is keyed,
//! so that nobody chooses whom he shares a set with, and changes every [`EPOCH`], so that nobody is unlucky for long.

use std::{
    hash::{BuildHasher as _, RandomState},
    net::{IpAddr, Ipv6Addr},
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

/// 8,192 sets of 64 bytes: 512 KiB.
const SETS: usize = 8_192;
const WAYS: usize = 8;
const TAG_BITS: u32 = 16;
/// How many seconds of its rate a source may use at once.
const BURST: Duration = Duration::from_secs(2);
/// How long two sources share a set at most.
const EPOCH: Duration = Duration::from_secs(300);
/// A free place; not zero, so that the table is backed by memory from the start and a flood finds nothing left to grow.
const FREE: u64 = 1;

/// An answer to a source that has proven nothing; each kind has a rate of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Unproven {
    /// 400, 401 and 438 to who has not shown a right MAC over a nonce of ours.
    Unauthenticated,
    /// Binding.
    Binding,
}

/// The limits of unproven sources, IPv4 addresses or IPv6 /64s; the same for all servers of a process.
#[derive(Debug, Default)]
pub struct SourceLimits {
    sets: Box<[Set]>,
    hasher: RandomState,
    unauthenticated: Interval,
    binding: Interval,
}

/// One line of the processor's cache.
#[derive(Debug)]
#[repr(align(64))]
struct Set([AtomicU64; WAYS]);

/// Microseconds from one answer to the next; 0 is no limit.
#[derive(Debug, Default, Clone, Copy)]
struct Interval(u64);

impl SourceLimits {
    /// Rates in answers a second, a million at most, with bursts of twice as many; 0 is no limit. `hasher` is keyed by
    /// secret random bytes.
    pub fn new(unauthenticated_per_second: u32, binding_per_second: u32, hasher: RandomState) -> Self {
        let sets = if unauthenticated_per_second == 0 && binding_per_second == 0 { 0 } else { SETS };
        Self {
            sets: (0..sets).map(|_| Set([const { AtomicU64::new(FREE) }; WAYS])).collect(),
            hasher,
            unauthenticated: Interval::of(unauthenticated_per_second),
            binding: Interval::of(binding_per_second),
        }
    }

    /// Whether a source gets one more answer now.
    pub(crate) fn admit(&self, now: Duration, answer: Unproven, source: IpAddr) -> bool {
        let Interval(interval) = match answer {
            Unproven::Unauthenticated => self.unauthenticated,
            Unproven::Binding => self.binding,
        };
        if interval == 0 {
            return true;
        }
        let epoch = now.as_secs() / EPOCH.as_secs();
        let hash = self.hasher.hash_one((source_of(source), answer, epoch));
        let set = &self.sets[(hash >> TAG_BITS) as usize % SETS];
        set.admit(now.as_micros() as u64, interval, hash & ((1 << TAG_BITS) - 1))
    }
}

impl Set {
    fn admit(&self, now: u64, interval: u64, tag: u64) -> bool {
        let latest = now + BURST.as_micros() as u64;
        loop {
            let (place, found) = self.place_of(now, tag);
            let full_again = (found >> TAG_BITS).max(now) + interval;
            if full_again > latest {
                return false;
            }
            let taken = full_again << TAG_BITS | tag;
            // Whoever was faster changed what is known of the whole set.
            if place.compare_exchange_weak(found, taken, Ordering::Relaxed, Ordering::Relaxed).is_ok() {
                return true;
            }
        }
    }

    /// The place of a tag, else the emptiest of all, with what is in it.
    fn place_of(&self, now: u64, tag: u64) -> (&AtomicU64, u64) {
        let mut emptiest = (&self.0[0], u64::MAX);
        for place in &self.0 {
            let word = place.load(Ordering::Relaxed);
            if word & ((1 << TAG_BITS) - 1) == tag && word >> TAG_BITS > now {
                return (place, word);
            }
            if word < emptiest.1 {
                emptiest = (place, word);
            }
        }
        emptiest
    }
}

impl Interval {
    fn of(per_second: u32) -> Self {
        match per_second {
            0 => Self(0),
            rate => Self(1_000_000_u64.div_ceil(rate.into())),
        }
    }
}

/// What counts as one source: an IPv4 address, or an IPv6 /64, which one customer has to himself.
pub(crate) fn source_of(client: IpAddr) -> IpAddr {
    match client {
        IpAddr::V4(ip) => ip.into(),
        IpAddr::V6(ip) => Ipv6Addr::from(u128::from(ip) >> 64 << 64).into(),
    }
}

#[cfg(test)]
mod tests {
    use std::{net::Ipv4Addr, thread};

    use rand::{Rng as _, SeedableRng as _, rngs::SmallRng};

    use super::*;

    const START: Duration = Duration::from_secs(100);

    fn limits() -> SourceLimits {
        SourceLimits::new(100, 1000, RandomState::new())
    }

    fn answered(
        limits: &SourceLimits,
        at: Duration,
        answer: Unproven,
        source: IpAddr,
        asked: usize,
    ) -> usize {
        (0..asked).filter(|_| limits.admit(at, answer, source)).count()
    }

    #[test]
    fn a_source_gets_a_burst_of_two_seconds_and_then_its_rate() {
        let limits = limits();
        let source = IpAddr::from([192, 0, 2, 1]);
        for (answer, rate) in [(Unproven::Unauthenticated, 100), (Unproven::Binding, 1000)] {
            let of = |at, asked| answered(&limits, at, answer, source, asked);
            assert_eq!(of(START, 10_000), 2 * rate);
            assert_eq!(of(START + Duration::from_millis(500), 10_000), rate / 2);
            assert_eq!(of(START + Duration::from_secs(60), 10_000), 2 * rate);
        }
    }

    #[test]
    fn zero_is_no_limit_and_takes_no_memory() {
        let off = SourceLimits::new(0, 0, RandomState::new());
        let source = IpAddr::from([192, 0, 2, 1]);
        assert_eq!(answered(&off, START, Unproven::Unauthenticated, source, 10_000), 10_000);
        assert!(off.sets.is_empty() && SourceLimits::default().sets.is_empty());
        let one = SourceLimits::new(0, 5, RandomState::new());
        assert_eq!(answered(&one, START, Unproven::Unauthenticated, source, 10_000), 10_000);
        assert_eq!(answered(&one, START, Unproven::Binding, source, 10_000), 10);
        assert_eq!(size_of_val(&*one.sets), 512 * 1024);
    }

    #[test]
    fn an_ipv6_source_is_its_64_and_an_ipv4_source_its_address() {
        let limits = limits();
        let of = |source: &str, asked| {
            answered(&limits, START, Unproven::Unauthenticated, source.parse().unwrap(), asked)
        };
        assert_eq!(of("2001:db8::1", 150), 150);
        assert_eq!(of("2001:db8::ffff:2", 150), 50);
        assert_eq!(of("2001:db8:0:1::1", 150), 150);
        assert_eq!(of("192.0.2.1", 150), 150);
        assert_eq!(of("192.0.2.2", 150), 150);
    }

    /// A second in steps of a millisecond: `asks` is called for each and may ask as often as it likes.
    fn a_second(mut asks: impl FnMut(Duration)) {
        for millisecond in 0..1000 {
            asks(START + Duration::from_millis(millisecond));
        }
    }

    #[test]
    fn a_campus_of_200_sources_keeps_its_rate_while_500_000_random_sources_a_second_flood() {
        let limits = limits();
        let mut random = SmallRng::seed_from_u64(7);
        let campus: Vec<IpAddr> = (0..200).map(|host| Ipv4Addr::new(192, 0, 2, host).into()).collect();
        let mut refused = 0;
        a_second(|now| {
            for _ in 0..500 {
                limits.admit(now, Unproven::Unauthenticated, IpAddr::from(random.random::<[u8; 4]>()));
            }
            // Each of them 100 times a second, spread over the second.
            for (host, source) in campus.iter().enumerate() {
                if now.subsec_millis() as usize % 10 == host % 10 {
                    refused += usize::from(!limits.admit(now, Unproven::Unauthenticated, *source));
                }
            }
        });
        assert_eq!(refused, 0, "of 20,000");
    }

    #[test]
    fn two_hundred_floods_get_their_rate_and_no_more_while_random_sources_flood() {
        let limits = limits();
        let mut random = SmallRng::seed_from_u64(8);
        let floods: Vec<IpAddr> = (0..200).map(|host| Ipv4Addr::new(192, 0, 2, host).into()).collect();
        let mut answers = vec![0; floods.len()];
        a_second(|now| {
            for _ in 0..500 {
                limits.admit(now, Unproven::Unauthenticated, IpAddr::from(random.random::<[u8; 4]>()));
            }
            for (source, answers) in floods.iter().zip(&mut answers) {
                *answers += answered(&limits, now, Unproven::Unauthenticated, *source, 2);
            }
        });
        for answers in answers {
            assert!((290..=300).contains(&answers), "{answers} in a second of 2,000, rate 100 and burst 200");
        }
    }

    #[test]
    fn more_floods_than_places_in_a_set_get_what_its_places_grant_and_start_anew_with_each_epoch() {
        let set = Set([const { AtomicU64::new(FREE) }; WAYS]);
        let second = 1_000_000;
        let mut answers = [0; 12];
        for micros in (second..2 * second).step_by(1000) {
            for (tag, answers) in answers.iter_mut().enumerate() {
                *answers += usize::from(set.admit(micros, 10_000, tag as u64));
            }
        }
        let total: usize = answers.iter().sum();
        assert!(total <= WAYS * 300, "{answers:?}");

        let limits = limits();
        let source = IpAddr::from([192, 0, 2, 1]);
        let last = EPOCH * 2 - Duration::from_millis(1);
        assert_eq!(answered(&limits, last, Unproven::Unauthenticated, source, 300), 200);
        assert_eq!(answered(&limits, EPOCH * 2, Unproven::Unauthenticated, source, 300), 200);
    }

    #[test]
    fn threads_together_give_one_source_no_more_than_its_burst() {
        let limits = limits();
        let source = IpAddr::from([192, 0, 2, 1]);
        let total: usize = thread::scope(|scope| {
            let ask = || answered(&limits, START, Unproven::Unauthenticated, source, 5_000);
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(ask)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).sum()
        });
        assert_eq!(total, 200);
    }
}
