//! Who failed to get in, by source: what an operator, or what he lets block addresses, wants to read.

use std::{collections::HashMap, net::IpAddr};

use crate::{AuthFailure, Tally, sources::source_of};

/// Sources that are told apart; whoever comes later is counted with all others. A flood of forged ones grows nothing.
const MOST: usize = 256;

/// Failures since they were last taken.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct AuthFailures {
    by_source: HashMap<IpAddr, Tally<AuthFailure>>,
    elsewhere: u64,
}

impl AuthFailures {
    pub(crate) fn count(&mut self, client: IpAddr, failure: AuthFailure) {
        match self.of(source_of(client)) {
            Some(failures) => failures.count(failure),
            None => self.elsewhere += 1,
        }
    }

    /// Whether nobody failed.
    pub fn is_empty(&self) -> bool {
        self.by_source.is_empty() && self.elsewhere == 0
    }

    /// Adds the failures of another, the worst first.
    pub fn add(&mut self, other: &Self) {
        for (source, theirs) in other.worst() {
            match self.of(source) {
                Some(failures) => failures.add(theirs),
                None => self.elsewhere += theirs.total(),
            }
        }
        self.elsewhere += other.elsewhere;
    }

    /// The sources, IPv4 addresses or IPv6 /64s, with the most failures first.
    pub fn worst(&self) -> Vec<(IpAddr, &Tally<AuthFailure>)> {
        let mut all: Vec<_> = self.by_source.iter().map(|(source, failures)| (*source, failures)).collect();
        all.sort_by_key(|(source, failures)| (std::cmp::Reverse(failures.total()), *source));
        all
    }

    /// Failures of sources that were not told apart.
    pub fn elsewhere(&self) -> u64 {
        self.elsewhere
    }

    fn of(&mut self, source: IpAddr) -> Option<&mut Tally<AuthFailure>> {
        let has_room = self.by_source.len() < MOST || self.by_source.contains_key(&source);
        has_room.then(|| self.by_source.entry(source).or_default())
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    #[test]
    fn sources_are_told_apart_up_to_a_bound_and_the_worst_comes_first() {
        let mut failures = AuthFailures::default();
        for host in 0..1_000_u32 {
            failures.count(Ipv4Addr::from(0xC000_0200 + host).into(), AuthFailure::Integrity);
        }
        let worst = IpAddr::from([192, 0, 2, 7]);
        failures.count(worst, AuthFailure::Expired);
        assert_eq!((failures.worst().len(), failures.elsewhere()), (MOST, 1_000 - MOST as u64));
        let (source, tally) = failures.worst()[0];
        assert_eq!((source, tally.total(), tally.get(AuthFailure::Expired)), (worst, 2, 1));

        let mut sum = AuthFailures::default();
        sum.count("2001:db8::1".parse().unwrap(), AuthFailure::Realm);
        sum.count("2001:db8::ffff:2".parse().unwrap(), AuthFailure::Realm);
        sum.add(&failures);
        assert_eq!((sum.worst().len(), sum.elsewhere()), (MOST, 1_000 - MOST as u64 + 1));
        let one_64 = sum.worst().into_iter().find(|(source, _)| source.is_ipv6()).unwrap();
        assert_eq!((one_64.0.to_string().as_str(), one_64.1.total()), ("2001:db8::", 2));
    }
}
