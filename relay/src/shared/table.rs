//! Which allocation has which relayed port: what makes relay to relay work in process, behind a 1:1 NAT as well.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::atomic::{AtomicU64, Ordering},
};

use turnpike_proto::AllocationKey;

/// Bits of a packed place: generation, then slot, then shard plus one.
const GENERATION_BITS: u32 = 32;
const SLOT_BITS: u32 = 22;
/// Most shards whose places can be packed.
pub(crate) const MAX_SHARDS: usize = (1 << (u64::BITS - GENERATION_BITS - SLOT_BITS)) - 2;

/// Where an allocation lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) shard: usize,
    pub(crate) allocation: AllocationKey,
}

/// The places of all relayed ports, read without a lock. A relayed address is known by the address that peers see and
/// by the one that its socket is bound on.
pub(crate) struct PortTable {
    advertised: Ipv4Addr,
    bound: Ipv4Addr,
    places: Box<[AtomicU64]>,
}

impl PortTable {
    pub(crate) fn new(advertised: Ipv4Addr, bound: Ipv4Addr) -> Self {
        Self { advertised, bound, places: (0..=u16::MAX).map(|_| AtomicU64::new(0)).collect() }
    }

    /// Says who has a port from now on.
    pub(crate) fn set(&self, port: u16, place: Place) {
        self.places[usize::from(port)].store(place.pack(), Ordering::Release);
    }

    /// Says that nobody has it.
    pub(crate) fn clear(&self, port: u16) {
        self.places[usize::from(port)].store(0, Ordering::Release);
    }

    /// The allocation that a datagram to an address of this node is for. What is bound on any address is reached by
    /// every address.
    pub(crate) fn find(&self, peer: SocketAddr) -> Option<Place> {
        let IpAddr::V4(ip) = peer.ip() else { return None };
        if ip != self.advertised && ip != self.bound && !self.bound.is_unspecified() {
            return None;
        }
        Place::unpack(self.places[usize::from(peer.port())].load(Ordering::Acquire))
    }
}

impl Place {
    fn pack(self) -> u64 {
        let AllocationKey { index, generation } = self.allocation;
        debug_assert!(index < 1 << SLOT_BITS && self.shard < MAX_SHARDS);
        let shard = (self.shard as u64 + 1) << (GENERATION_BITS + SLOT_BITS);
        shard | u64::from(index) << GENERATION_BITS | u64::from(generation)
    }

    fn unpack(raw: u64) -> Option<Self> {
        let shard = (raw >> (GENERATION_BITS + SLOT_BITS)).checked_sub(1)?;
        let index = (raw >> GENERATION_BITS) as u32 & ((1 << SLOT_BITS) - 1);
        Some(Self { shard: shard as usize, allocation: AllocationKey { index, generation: raw as u32 } })
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    const BOUND: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 5);
    const ADVERTISED: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 1);

    fn place(shard: usize, index: u32, generation: u32) -> Place {
        Place { shard, allocation: AllocationKey { index, generation } }
    }

    #[test]
    fn places_survive_packing() {
        for place in
            [place(0, 0, 0), place(MAX_SHARDS - 1, (1 << SLOT_BITS) - 1, u32::MAX), place(3, 65_535, 1)]
        {
            assert_eq!(Place::unpack(place.pack()), Some(place));
        }
    }

    #[test]
    fn a_relayed_address_is_found_by_both_of_its_addresses() {
        let table = PortTable::new(ADVERTISED, BOUND);
        table.set(50_000, place(1, 2, 3));
        for ip in [ADVERTISED, BOUND] {
            assert_eq!(table.find((ip, 50_000).into()), Some(place(1, 2, 3)));
            assert_eq!(table.find((ip, 50_001).into()), None);
        }
        assert_eq!(table.find((Ipv4Addr::LOCALHOST, 50_000).into()), None);
        assert_eq!(table.find("[::1]:50000".parse().unwrap()), None);
        table.clear(50_000);
        assert_eq!(table.find((BOUND, 50_000).into()), None);
    }

    #[test]
    fn what_is_bound_on_any_address_is_found_by_every_address() {
        let table = PortTable::new(ADVERTISED, Ipv4Addr::UNSPECIFIED);
        table.set(50_000, place(0, 0, 0));
        assert_eq!(table.find("10.9.8.7:50000".parse().unwrap()), Some(place(0, 0, 0)));
    }

    #[test]
    fn readers_see_whole_places_while_a_writer_changes_them() {
        let table = PortTable::new(ADVERTISED, BOUND);
        thread::scope(|scope| {
            scope.spawn(|| {
                for n in 0..100_000_u32 {
                    table.set(50_000, place(n as usize % 7, n % 1_000, n));
                    if n % 3 == 0 {
                        table.clear(50_000);
                    }
                }
            });
            for _ in 0..2 {
                scope.spawn(|| {
                    for _ in 0..100_000 {
                        let Some(found) = table.find((BOUND, 50_000).into()) else { continue };
                        let n = found.allocation.generation;
                        assert_eq!(found, place(n as usize % 7, n % 1_000, n));
                    }
                });
            }
        });
    }
}
