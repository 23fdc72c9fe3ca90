//! What a shard tells of itself once a second. Readers take the last one told and never wait for a shard.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use turnpike_proto::{ByFamily, Counters, Family, Label as _, Server, Tally, Transport};
use turnpike_relay_api::admin::Traffic;

use crate::{
    ended::EndedCounts,
    io::Together,
    setups::Setups,
    shard::{Handshake, SocketCall},
};

/// One value for each transport of clients and each family, of a leg's addresses where there are two legs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct ByClient<T>([ByFamily<T>; 3]);

impl<T> ByClient<T> {
    /// Every transport and family with its value.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (Transport, Family, &T)> {
        Transport::ALL.iter().zip(&self.0).flat_map(|(transport, families)| {
            families.iter().map(|(family, value)| (*transport, family, value))
        })
    }

    fn merge(&mut self, other: &Self, mut add: impl FnMut(&mut T, &T)) {
        for (mine, theirs) in self.0.iter_mut().zip(&other.0) {
            mine.iter_mut().for_each(|(family, value)| add(value, &theirs[family]));
        }
    }
}

impl ByClient<Traffic> {
    /// Adds what flowed through an allocation, by the family of each leg.
    pub(crate) fn add(&mut self, transport: Transport, traffic: &ByFamily<Traffic>) {
        let mine = &mut self.0[transport.index()];
        mine.iter_mut().for_each(|(family, value)| value.add(&traffic[family]));
    }
}

/// The state and counters of one shard, or the sum of all.
#[derive(Debug, Clone, Default)]
pub(crate) struct Snapshot {
    /// When it was taken; of a sum, the oldest.
    pub(crate) at: Duration,
    pub(crate) counters: Counters,
    /// Of all allocations since the start, live and ended, by the family of each leg.
    pub(crate) traffic: ByClient<Traffic>,
    /// Live allocations, by their client's family.
    pub(crate) allocations: ByClient<u64>,
    pub(crate) permissions: u64,
    pub(crate) channels: u64,
    /// Open connections of clients, in the order of [`Transport::ALL`].
    pub(crate) connections: [u64; 3],
    /// Connections that were closed at once, for their source had too many.
    pub(crate) refused_connections: u64,
    pub(crate) handshakes: Tally<Handshake>,
    /// Datagrams that came in one buffer with others.
    pub(crate) together_in: Together,
    /// Datagrams that left in one buffer with others.
    pub(crate) together_out: Together,
    /// Buffers of several datagrams that the kernel did not take.
    pub(crate) refused_runs: u64,
    pub(crate) ended: EndedCounts,
    pub(crate) setups: Setups,
    /// Errors of the kernel.
    pub(crate) socket_errors: Tally<SocketCall>,
}

impl Snapshot {
    /// Looks at every live allocation once; `ended` is the traffic of the others.
    pub(crate) fn take(server: &Server, ended: &ByClient<Traffic>, at: Duration) -> Self {
        let mut snapshot =
            Self { at, counters: server.counters().clone(), traffic: *ended, ..Self::default() };
        for (_, allocation) in server.allocations() {
            let client = allocation.five_tuple();
            snapshot.traffic.add(client.transport, &allocation.traffic());
            snapshot.allocations.0[client.transport.index()][Family::of(client.client.ip())] += 1;
            snapshot.permissions += allocation.permissions(at) as u64;
            snapshot.channels += allocation.channels(at) as u64;
        }
        snapshot
    }

    /// Traffic of all clients.
    pub(crate) fn total_traffic(&self) -> Traffic {
        let mut total = Traffic::default();
        self.traffic.iter().for_each(|(_, _, traffic)| total.add(traffic));
        total
    }

    fn add(&mut self, other: &Self) {
        self.at = self.at.min(other.at);
        self.counters.add(&other.counters);
        self.traffic.merge(&other.traffic, Traffic::add);
        self.allocations.merge(&other.allocations, |mine, theirs| *mine += theirs);
        self.permissions += other.permissions;
        self.channels += other.channels;
        for (mine, theirs) in self.connections.iter_mut().zip(other.connections) {
            *mine += theirs;
        }
        self.refused_connections += other.refused_connections;
        self.handshakes.add(&other.handshakes);
        self.together_in.add(&other.together_in);
        self.together_out.add(&other.together_out);
        self.refused_runs += other.refused_runs;
        self.ended.add(&other.ended);
        self.setups.add(&other.setups);
        self.socket_errors.add(&other.socket_errors);
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
