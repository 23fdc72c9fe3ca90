//! Which allocation has which relayed port: what makes relay to relay work in process, behind a 1:1 NAT as well.

use std::{
    net::{IpAddr, SocketAddr},
    sync::atomic::{AtomicU64, Ordering},
};

use turnpike_config::RelayAddress;
use turnpike_proto::{AllocationKey, ByFamily, Family};

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

/// The places of all relayed ports of both families, read without a lock. A relayed address is known by the address
/// that peers see and by the one that its socket is bound on.
pub(crate) struct PortTable(ByFamily<Option<Ports>>);

struct Ports {
    address: RelayAddress,
    places: Box<[AtomicU64]>,
}

impl PortTable {
    pub(crate) fn new(addresses: &ByFamily<Option<RelayAddress>>) -> Self {
        Self(ByFamily::from_fn(|family| addresses[family].map(Ports::new)))
    }

    /// Says who has the port of a relayed address from now on.
    pub(crate) fn set(&self, relayed: SocketAddr, place: Place) {
        self.store(relayed, place.pack());
    }

    /// Says that nobody has it.
    pub(crate) fn clear(&self, relayed: SocketAddr) {
        self.store(relayed, 0);
    }

    /// The allocation that a datagram to an address of this node is for. What is bound on any address is reached by
    /// every address of its family.
    pub(crate) fn find(&self, peer: SocketAddr) -> Option<Place> {
        let ports = self.0[Family::of(peer.ip())].as_ref().filter(|ports| ports.are_at(peer.ip()))?;
        Place::unpack(ports.places[usize::from(peer.port())].load(Ordering::Acquire))
    }

    fn store(&self, relayed: SocketAddr, packed: u64) {
        let ports =
            self.0[Family::of(relayed.ip())].as_ref().expect("relayed addresses are of served families");
        ports.places[usize::from(relayed.port())].store(packed, Ordering::Release);
    }
}

impl Ports {
    fn new(address: RelayAddress) -> Self {
        Self { address, places: (0..=u16::MAX).map(|_| AtomicU64::new(0)).collect() }
    }

    fn are_at(&self, ip: IpAddr) -> bool {
        let RelayAddress { bound, advertised } = self.address;
        ip == advertised || ip == bound || bound.is_unspecified()
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

    const BOUND: &str = "10.0.0.5";
    const ADVERTISED: &str = "198.51.100.1";
    const BOUND_IPV6: &str = "fd00::5";
    const ADVERTISED_IPV6: &str = "2001:db8::1";

    fn table(bound: &str, ipv6: Option<&str>) -> PortTable {
        let ip = |text: &str| text.parse().unwrap();
        PortTable::new(&ByFamily::from_fn(|family| match family {
            Family::Ipv4 => Some(RelayAddress { bound: ip(bound), advertised: ip(ADVERTISED) }),
            Family::Ipv6 => {
                ipv6.map(|bound| RelayAddress { bound: ip(bound), advertised: ip(ADVERTISED_IPV6) })
            }
        }))
    }

    fn at(ip: &str, port: u16) -> SocketAddr {
        SocketAddr::new(ip.parse().unwrap(), port)
    }

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
        let table = table(BOUND, None);
        table.set(at(ADVERTISED, 50_000), place(1, 2, 3));
        for ip in [ADVERTISED, BOUND] {
            assert_eq!(table.find(at(ip, 50_000)), Some(place(1, 2, 3)));
            assert_eq!(table.find(at(ip, 50_001)), None);
        }
        assert_eq!(table.find(at("127.0.0.1", 50_000)), None);
        assert_eq!(table.find(at("::1", 50_000)), None);
        table.clear(at(ADVERTISED, 50_000));
        assert_eq!(table.find(at(BOUND, 50_000)), None);
    }

    #[test]
    fn the_same_port_of_the_other_family_is_another_ones() {
        let table = table(BOUND, Some(BOUND_IPV6));
        table.set(at(ADVERTISED, 50_000), place(1, 2, 3));
        for ip in [ADVERTISED_IPV6, BOUND_IPV6, "::ffff:10.0.0.5", "::ffff:198.51.100.1"] {
            assert_eq!(table.find(at(ip, 50_000)), None, "{ip}");
        }
        table.set(at(ADVERTISED_IPV6, 50_000), place(4, 5, 6));
        assert_eq!(table.find(at(ADVERTISED, 50_000)), Some(place(1, 2, 3)));
        for ip in [ADVERTISED_IPV6, BOUND_IPV6] {
            assert_eq!(table.find(at(ip, 50_000)), Some(place(4, 5, 6)));
        }
        table.clear(at(ADVERTISED, 50_000));
        assert_eq!(table.find(at(BOUND_IPV6, 50_000)), Some(place(4, 5, 6)));
    }

    #[test]
    fn what_is_bound_on_any_address_is_found_by_every_address() {
        let table = table("0.0.0.0", Some("::"));
        table.set(at(ADVERTISED, 50_000), place(0, 0, 0));
        table.set(at(ADVERTISED_IPV6, 50_001), place(0, 1, 0));
        assert_eq!(table.find(at("10.9.8.7", 50_000)), Some(place(0, 0, 0)));
        assert_eq!(table.find(at("2001:db8::9", 50_001)), Some(place(0, 1, 0)));
        assert_eq!(table.find(at("2001:db8::9", 50_000)), None);
    }

    #[test]
    fn readers_see_whole_places_while_a_writer_changes_them() {
        let table = table(BOUND, None);
        thread::scope(|scope| {
            scope.spawn(|| {
                for n in 0..100_000_u32 {
                    table.set(at(ADVERTISED, 50_000), place(n as usize % 7, n % 1_000, n));
                    if n % 3 == 0 {
                        table.clear(at(ADVERTISED, 50_000));
                    }
                }
            });
            for _ in 0..2 {
                scope.spawn(|| {
                    for _ in 0..100_000 {
                        let Some(found) = table.find(at(BOUND, 50_000)) else { continue };
                        let n = found.allocation.generation;
                        assert_eq!(found, place(n as usize % 7, n % 1_000, n));
                    }
                });
            }
        });
    }
}
