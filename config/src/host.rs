//! What configuration takes from the machine: names, addresses, folders, environment.

use std::{collections::BTreeMap, net::Ipv4Addr, path::PathBuf, thread::available_parallelism};

use nix::{ifaddrs::getifaddrs, net::if_::InterfaceFlags};

use crate::{Learned, PublicAddress};

/// Interfaces that hold addresses of containers and virtual machines, by the start of their name.
const BRIDGES: [&str; 10] =
    ["docker", "br-", "veth", "virbr", "podman", "cni", "flannel", "cali", "lxc", "lxdbr"];

/// The machine as configuration sees it.
#[derive(Debug, Default, Clone)]
pub struct Host {
    /// The hostname.
    pub name: String,
    /// Processors this process may use, at least 1.
    pub cores: usize,
    /// IPv4 addresses of interfaces that are up, without loopback.
    pub addresses: Vec<InterfaceAddress>,
    /// The folder for the user's own data; none when neither `XDG_DATA_HOME` nor `HOME` is set.
    pub data_home: Option<PathBuf>,
    /// The environment variables, of which `TURNPIKE_SECTION__KEY` override keys.
    pub environment: BTreeMap<String, String>,
}

/// An IPv4 address of a network interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InterfaceAddress {
    /// Name of the interface.
    pub interface: String,
    /// Its address.
    pub address: Ipv4Addr,
}

impl Host {
    /// Looks at this machine and this process's environment.
    pub fn detect() -> Self {
        let environment: BTreeMap<String, String> = std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .collect();
        Self {
            name: rustix::system::uname().nodename().to_string_lossy().into_owned(),
            cores: available_parallelism().map_or(1, usize::from),
            addresses: interface_addresses(),
            data_home: data_home(&environment),
            environment,
        }
    }

    /// The address that strangers most likely reach this machine by; loopback when it has no other.
    pub fn public_ipv4(&self) -> PublicAddress {
        let learned = |found: &InterfaceAddress| PublicAddress {
            address: found.address,
            learned: Learned::Interface(found.interface.clone()),
        };
        let rank = |found: &&InterfaceAddress| {
            let bridge = BRIDGES.iter().any(|bridge| found.interface.starts_with(bridge));
            (learned(found).is_private(), found.address.is_link_local(), bridge)
        };
        self.addresses
            .iter()
            .min_by_key(rank)
            .map_or(PublicAddress { address: Ipv4Addr::LOCALHOST, learned: Learned::Loopback }, learned)
    }

    /// Whether an interface of this machine has the address.
    pub fn holds(&self, address: Ipv4Addr) -> bool {
        self.addresses.iter().any(|own| own.address == address)
    }
}

fn interface_addresses() -> Vec<InterfaceAddress> {
    // A machine that does not tell its interfaces is treated as one without any.
    let Ok(all) = getifaddrs() else { return Vec::new() };
    let usable = |flags: InterfaceFlags| {
        flags.contains(InterfaceFlags::IFF_UP) && !flags.contains(InterfaceFlags::IFF_LOOPBACK)
    };
    all.filter(|found| usable(found.flags))
        .filter_map(|found| {
            let address = found.address?.as_sockaddr_in()?.ip();
            Some(InterfaceAddress { interface: found.interface_name, address })
        })
        .collect()
}

/// As in the XDG base directory specification, which has relative paths ignored.
fn data_home(environment: &BTreeMap<String, String>) -> Option<PathBuf> {
    let folder = |name: &str| environment.get(name).map(PathBuf::from).filter(|path| path.is_absolute());
    folder("XDG_DATA_HOME").or_else(|| folder("HOME").map(|home| home.join(".local/share")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host<const N: usize>(addresses: [(&str, [u8; 4]); N]) -> Host {
        let addresses = addresses.into_iter().map(|(interface, address)| InterfaceAddress {
            interface: interface.to_owned(),
            address: address.into(),
        });
        Host { addresses: addresses.collect(), ..Host::default() }
    }

    #[test]
    fn a_public_address_goes_before_a_private_one_and_a_bridge_comes_last() {
        let chosen = |host: Host| host.public_ipv4().address.octets();
        assert_eq!(chosen(host([("eth0", [10, 0, 0, 5]), ("eth1", [198, 18, 0, 1])])), [198, 18, 0, 1]);
        assert_eq!(chosen(host([("docker0", [172, 17, 0, 1]), ("eth0", [10, 0, 0, 5])])), [10, 0, 0, 5]);
        assert_eq!(chosen(host([("eth0", [169, 254, 3, 4]), ("br-1", [172, 18, 0, 1])])), [172, 18, 0, 1]);
        assert_eq!(chosen(host([("eth0", [10, 0, 0, 5]), ("eth1", [10, 0, 0, 6])])), [10, 0, 0, 5]);
    }

    #[test]
    fn a_machine_without_addresses_has_loopback() {
        assert_eq!(
            host([]).public_ipv4(),
            PublicAddress { address: Ipv4Addr::LOCALHOST, learned: Learned::Loopback }
        );
    }

    #[test]
    fn the_data_folder_follows_the_xdg_rules() {
        let folder = |pairs: &[(&str, &str)]| {
            let environment = pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
            data_home(&environment.collect()).map(|path| path.display().to_string())
        };
        assert_eq!(folder(&[("XDG_DATA_HOME", "/data"), ("HOME", "/home/a")]).unwrap(), "/data");
        assert_eq!(
            folder(&[("XDG_DATA_HOME", "data"), ("HOME", "/home/a")]).unwrap(),
            "/home/a/.local/share"
        );
        assert_eq!(folder(&[("XDG_DATA_HOME", "")]), None);
    }

    #[test]
    fn this_machine_has_a_name_and_a_core() {
        let host = Host::detect();
        assert!(!host.name.is_empty());
        assert!(host.cores >= 1);
        assert!(host.addresses.iter().all(|own| !own.address.is_loopback()));
    }
}
