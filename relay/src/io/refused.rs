//! Where runs of datagrams were refused: a small MTU, a tunnel. One such path says nothing about the others.

use std::{net::IpAddr, time::Duration};

/// How long nothing is sent to an address in runs after one was refused.
const FOR: Duration = Duration::from_secs(60);
/// Addresses that are remembered; one that is forgotten for another costs one more refusal.
const PLACES: usize = 256;

/// A bounded memory of addresses.
#[derive(Debug, Default)]
pub(super) struct RefusedPaths {
    /// Empty until the first refusal.
    places: Vec<Option<(IpAddr, Duration)>>,
}

impl RefusedPaths {
    pub(super) fn insert(&mut self, to: IpAddr, now: Duration) {
        self.places.resize(PLACES, None);
        self.places[place(to)] = Some((to, now + FOR));
    }

    pub(super) fn contains(&self, to: IpAddr, now: Duration) -> bool {
        if self.places.is_empty() {
            return false;
        }
        self.places[place(to)].is_some_and(|(refused, until)| refused == to && now < until)
    }
}

fn place(ip: IpAddr) -> usize {
    let folded = match ip {
        IpAddr::V4(ip) => ip.to_bits(),
        IpAddr::V6(ip) => {
            let bits = ip.to_bits();
            (bits ^ bits >> 32 ^ bits >> 64 ^ bits >> 96) as u32
        }
    };
    (folded.wrapping_mul(0x9E37_79B1) >> 24) as usize % PLACES
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_of_one_address_and_for_a_while() {
        let mut refused = RefusedPaths::default();
        let [narrow, wide]: [IpAddr; 2] = ["198.18.0.1", "2001:db8::1"].map(|ip| ip.parse().unwrap());
        let now = Duration::from_secs(5);
        assert!(!refused.contains(narrow, now));
        refused.insert(narrow, now);
        assert!(refused.contains(narrow, now) && !refused.contains(wide, now));
        assert!(refused.contains(narrow, now + FOR - Duration::from_nanos(1)));
        assert!(!refused.contains(narrow, now + FOR));
    }

    #[test]
    fn however_many_are_refused_the_memory_of_them_has_one_size() {
        let mut refused = RefusedPaths::default();
        let addresses = || (0..100_000_u32).map(|nth| IpAddr::from((0xC612_0000 + nth).to_be_bytes()));
        addresses().for_each(|to| refused.insert(to, Duration::ZERO));
        assert_eq!(refused.places.len(), PLACES);
        let known = addresses().filter(|to| refused.contains(*to, Duration::ZERO)).count();
        assert_eq!(known, PLACES);
    }
}
