//! What a shard tells of itself once a second. Readers take the last one told and never wait for a shard.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use turnpike_proto::{Counters, Server};
use turnpike_relay_api::admin::Traffic;

/// An IP family, as a label.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Family {
    Ipv4,
    Ipv6,
}

impl Family {
    pub(crate) const ALL: [Self; 2] = [Self::Ipv4, Self::Ipv6];

    pub(crate) fn of(address: SocketAddr) -> Self {
        match address {
            SocketAddr::V4(_) => Self::Ipv4,
            SocketAddr::V6(_) => Self::Ipv6,
        }
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Ipv4 => "ipv4",
            Self::Ipv6 => "ipv6",
        }
    }
}

/// One value for each family of the client leg.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct ByFamily<T>([T; 2]);

impl<T> ByFamily<T> {
    pub(crate) fn get(&self, family: Family) -> &T {
        &self.0[family as usize]
    }

    pub(crate) fn get_mut(&mut self, family: Family) -> &mut T {
        &mut self.0[family as usize]
    }
}

/// The state and counters of one shard, or the sum of all.
#[derive(Debug, Clone, Default)]
pub(crate) struct Snapshot {
    /// When it was taken; of a sum, the oldest.
    pub(crate) at: Duration,
    pub(crate) counters: Counters,
    /// Of all allocations since the start, live and ended, by their client's family.
    pub(crate) traffic: ByFamily<Traffic>,
    /// Live allocations by their client's family.
    pub(crate) allocations: ByFamily<u64>,
    pub(crate) permissions: u64,
    pub(crate) channels: u64,
}

impl Snapshot {
    /// Looks at every live allocation once; `ended` is the traffic of the others.
    pub(crate) fn take(server: &Server, ended: &ByFamily<Traffic>, at: Duration) -> Self {
        let mut snapshot =
            Self { at, counters: server.counters().clone(), traffic: *ended, ..Self::default() };
        for (_, allocation) in server.allocations() {
            let family = Family::of(allocation.five_tuple().client);
            snapshot.traffic.get_mut(family).add(&allocation.traffic());
            *snapshot.allocations.get_mut(family) += 1;
            snapshot.permissions += allocation.permissions(at) as u64;
            snapshot.channels += allocation.channels(at) as u64;
        }
        snapshot
    }

    /// Traffic of both families.
    pub(crate) fn total_traffic(&self) -> Traffic {
        let mut total = Traffic::default();
        Family::ALL.iter().for_each(|family| total.add(self.traffic.get(*family)));
        total
    }

    /// Live allocations of both families.
    pub(crate) fn total_allocations(&self) -> u64 {
        Family::ALL.iter().map(|family| self.allocations.get(*family)).sum()
    }

    fn add(&mut self, other: &Self) {
        self.at = self.at.min(other.at);
        self.counters.add(&other.counters);
        for family in Family::ALL {
            self.traffic.get_mut(family).add(other.traffic.get(family));
            *self.allocations.get_mut(family) += other.allocations.get(family);
        }
        self.permissions += other.permissions;
        self.channels += other.channels;
    }
}

/// The last snapshot of every shard.
pub(crate) struct Board {
    places: Box<[Mutex<Arc<Snapshot>>]>,
}

impl Board {
    pub(crate) fn new(shards: usize) -> Self {
        Self { places: (0..shards).map(|_| Mutex::default()).collect() }
    }

    /// Replaces the snapshot of a shard.
    pub(crate) fn publish(&self, shard: usize, snapshot: Snapshot) {
        *self.places[shard].lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(snapshot);
    }

    /// The sum over all shards.
    pub(crate) fn sum(&self) -> Snapshot {
        let mut sum = Snapshot { at: Duration::MAX, ..Snapshot::default() };
        for place in &self.places {
            let snapshot = Arc::clone(&place.lock().unwrap_or_else(PoisonError::into_inner));
            sum.add(&snapshot);
        }
        sum
    }
}
