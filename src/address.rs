//! The public address of this machine, asked of those who see it from outside. Behind a 1:1 NAT no interface has it.

mod metadata;
mod stun;
mod watch;

use std::net::Ipv4Addr;

use turnpike_config::{Detect, Learned, PublicAddress};

pub(crate) use watch::watch;

/// Asks in this order, and takes the first public address that is told; `None` when nobody knows one. Blocks for some
/// seconds at most.
pub(crate) fn ask(ways: &[Detect]) -> Option<PublicAddress> {
    ways.iter().find_map(|way| match way {
        Detect::Interface => None,
        Detect::Metadata => {
            metadata::ask().map(|(address, cloud)| found(address, Learned::Metadata(cloud.to_owned())))
        }
        Detect::Stun { host, port } => {
            let address = stun::ask(host, *port)?;
            Some(found(address, Learned::Stun(format!("{host}:{port}"))))
        }
    })
}

fn found(address: Ipv4Addr, learned: Learned) -> PublicAddress {
    PublicAddress { address: address.into(), learned }
}
