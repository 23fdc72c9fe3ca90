//! Bans in force.

use std::{collections::HashMap, net::IpAddr};

use turnpike_matching::Id;

use super::Person;

/// Why somebody was banned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cause {
    /// So many people have reported them.
    Reports,
    /// An operator did it.
    Admin,
}

impl Cause {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Reports => "reports",
            Self::Admin => "admin",
        }
    }

    pub(super) fn parse(name: &str) -> Self {
        if name == Self::Reports.name() { Self::Reports } else { Self::Admin }
    }
}

/// Keeps out a browser, an address, or both.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Ban {
    pub(crate) id: Id,
    /// See [`Person`].
    pub(crate) device: Option<Id>,
    pub(crate) network: Option<IpAddr>,
    pub(crate) cause: Cause,
    pub(crate) note: String,
    /// Unix seconds.
    pub(crate) created: u64,
    pub(crate) until: u64,
}

impl Ban {
    /// Whether it keeps somebody out, as long as it lasts.
    pub(crate) fn is_for(&self, person: &Person) -> bool {
        (self.device.is_some() && self.device == person.device) || self.network == Some(person.network)
    }
}

#[derive(Debug, Default)]
pub(super) struct Bans {
    all: HashMap<Id, Ban>,
    by_device: HashMap<Id, Vec<Id>>,
    by_network: HashMap<IpAddr, Vec<Id>>,
}

impl Bans {
    pub(super) fn put(&mut self, ban: Ban) {
        if let Some(device) = ban.device {
            self.by_device.entry(device).or_default().push(ban.id);
        }
        if let Some(network) = ban.network {
            self.by_network.entry(network).or_default().push(ban.id);
        }
        self.all.insert(ban.id, ban);
    }

    pub(super) fn remove(&mut self, id: Id) -> bool {
        let Some(ban) = self.all.remove(&id) else { return false };
        if let Some(device) = ban.device {
            forget(&mut self.by_device, device, id);
        }
        if let Some(network) = ban.network {
            forget(&mut self.by_network, network, id);
        }
        true
    }

    /// The one that lasts longest.
    pub(super) fn of(&mut self, person: &Person, now: u64) -> Option<Ban> {
        let by_device = person.device.and_then(|device| self.by_device.get(&device));
        let ids: Vec<Id> =
            by_device.into_iter().chain(self.by_network.get(&person.network)).flatten().copied().collect();
        let (over, live): (Vec<Id>, Vec<Id>) = ids.into_iter().partition(|id| self.all[id].until <= now);
        for id in over {
            self.remove(id);
        }
        live.iter().map(|id| &self.all[id]).max_by_key(|ban| ban.until).cloned()
    }

    /// The newest first.
    pub(super) fn list(&mut self, now: u64) -> Vec<Ban> {
        let over: Vec<Id> = self.all.values().filter(|ban| ban.until <= now).map(|ban| ban.id).collect();
        for id in over {
            self.remove(id);
        }
        let mut list: Vec<Ban> = self.all.values().cloned().collect();
        list.sort_by_key(|ban| (std::cmp::Reverse(ban.created), ban.id));
        list
    }
}

fn forget<K: std::hash::Hash + Eq>(index: &mut HashMap<K, Vec<Id>>, key: K, id: Id) {
    if let Some(ids) = index.get_mut(&key) {
        ids.retain(|other| *other != id);
        if ids.is_empty() {
            index.remove(&key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ban(id: u8, device: Option<u8>, network: Option<&str>, until: u64) -> Ban {
        Ban {
            id: Id::new([id; 16]),
            device: device.map(|device| Id::new([device; 16])),
            network: network.map(|network| network.parse().unwrap()),
            cause: Cause::Admin,
            note: String::new(),
            created: u64::from(id),
            until,
        }
    }

    fn person(device: Option<u8>, address: &str) -> Person {
        Person::new(device.map(|device| Id::new([device; 16])), address.parse().unwrap())
    }

    #[test]
    fn a_ban_is_for_a_browser_anywhere_and_for_an_address_whatever_the_browser() {
        let mut bans = Bans::default();
        bans.put(ban(1, Some(7), None, 100));
        bans.put(ban(2, None, Some("2001:db8::"), 50));
        let found = |bans: &mut Bans, who: &Person, now| bans.of(who, now).map(|ban| ban.until);
        assert_eq!(found(&mut bans, &person(Some(7), "192.0.2.1"), 10), Some(100));
        assert_eq!(found(&mut bans, &person(Some(8), "2001:db8::5"), 10), Some(50));
        assert_eq!(found(&mut bans, &person(Some(7), "2001:db8::5"), 10), Some(100), "the longer one");
        assert_eq!(found(&mut bans, &person(None, "192.0.2.1"), 10), None);
        assert_eq!(found(&mut bans, &person(Some(8), "2001:db8::5"), 50), None, "it is over");
        assert_eq!(bans.list(60).len(), 1);
        assert!(bans.remove(Id::new([1; 16])) && !bans.remove(Id::new([1; 16])));
        assert_eq!(found(&mut bans, &person(Some(7), "192.0.2.1"), 10), None);
        assert!(bans.by_device.is_empty() && bans.by_network.is_empty());
    }
}
