//! What configuration takes from the machine: names, addresses, folders, environment.

use std::{
    collections::BTreeMap,
    fs,
    net::{IpAddr, Ipv6Addr},
    path::PathBuf,
    thread::available_parallelism,
};

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
    /// Addresses of interfaces that are up, without loopback.
    pub addresses: Vec<InterfaceAddress>,
    /// The IPv4 address that others say this machine is reached by; asked for only where `node.detect` names them.
    pub outside: Option<PublicAddress>,
    /// The folder for the user's own data; none when neither `XDG_DATA_HOME` nor `HOME` is set.
    pub data_home: Option<PathBuf>,
    /// The environment variables, of which `TURNPIKE_SECTION__KEY` override keys.
    pub environment: BTreeMap<String, String>,
}

/// An address of a network interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InterfaceAddress {
    /// Name of the interface.
    pub interface: String,
    /// Its address.
    pub address: IpAddr,
    /// An IPv6 address that does not stay: temporary (RFC 8981), deprecated, or a duplicate of another machine's.
    pub is_passing: bool,
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
            outside: None,
            data_home: data_home(&environment),
            environment,
        }
    }

    /// The IPv4 address that strangers most likely reach this machine by.
    pub fn public_ipv4(&self) -> Option<PublicAddress> {
        let rank = |found: &&InterfaceAddress| {
            let link_local = matches!(found.address, IpAddr::V4(v4) if v4.is_link_local());
            (found.learned().is_private(), link_local, found.is_on_bridge())
        };
        let all = self.addresses.iter().filter(|found| found.address.is_ipv4());
        let own = all.min_by_key(rank).map(InterfaceAddress::learned);
        // Asked for only where no interface is to tell it, or none can.
        self.outside.clone().or(own)
    }

    /// The IPv6 address that strangers reach this machine by, if it has one that stays.
    pub fn public_ipv6(&self) -> Option<PublicAddress> {
        let is_global = |found: &&InterfaceAddress| match found.address {
            IpAddr::V6(v6) => is_global(v6) && !found.is_passing,
            IpAddr::V4(_) => false,
        };
        let all = self.addresses.iter().filter(is_global);
        all.min_by_key(|found| found.is_on_bridge()).map(InterfaceAddress::learned)
    }

    /// Whether an interface of this machine has the address.
    pub fn holds(&self, address: IpAddr) -> bool {
        self.addresses.iter().any(|own| own.address == address)
    }
}

impl InterfaceAddress {
    fn learned(&self) -> PublicAddress {
        PublicAddress { address: self.address, learned: Learned::Interface(self.interface.clone()) }
    }

    fn is_on_bridge(&self) -> bool {
        BRIDGES.iter().any(|bridge| self.interface.starts_with(bridge))
    }
}

/// Global unicast (RFC 4291 §2.4) but for Teredo and 6to4, whose users no relay may serve (RFC 8656 §21.4).
fn is_global(address: Ipv6Addr) -> bool {
    let segments = address.segments();
    segments[0] & 0xE000 == 0x2000 && segments[0] != 0x2002 && segments[..2] != [0x2001, 0]
}

fn interface_addresses() -> Vec<InterfaceAddress> {
    // A machine that does not tell its interfaces is treated as one without any.
    let Ok(all) = getifaddrs() else { return Vec::new() };
    let passing = passing(&fs::read_to_string("/proc/net/if_inet6").unwrap_or_default());
    let usable = |flags: InterfaceFlags| {
        flags.contains(InterfaceFlags::IFF_UP) && !flags.contains(InterfaceFlags::IFF_LOOPBACK)
    };
    all.filter(|found| usable(found.flags))
        .filter_map(|found| {
            let address = found.address?;
            let v4 = address.as_sockaddr_in().map(|v4| IpAddr::V4(v4.ip()));
            let address = v4.or_else(|| address.as_sockaddr_in6().map(|v6| IpAddr::V6(v6.ip())))?;
            let is_passing = matches!(address, IpAddr::V6(v6) if passing.contains(&v6));
            Some(InterfaceAddress { interface: found.interface_name, address, is_passing })
        })
        .collect()
}

/// The addresses that do not stay, from a table of address, interface number, prefix length, scope, flags and interface
/// in hexadecimal.
fn passing(if_inet6: &str) -> Vec<Ipv6Addr> {
    /// IFA_F_TEMPORARY, IFA_F_DADFAILED and IFA_F_DEPRECATED of rtnetlink(7).
    const PASSING: u32 = 0x01 | 0x08 | 0x20;
    let address = |line: &str| {
        let mut fields = line.split_whitespace();
        let address = u128::from_str_radix(fields.next()?, 16).ok()?;
        let flags = u32::from_str_radix(fields.nth(3)?, 16).ok()?;
        (flags & PASSING != 0).then(|| Ipv6Addr::from(address))
    };
    if_inet6.lines().filter_map(address).collect()
}

/// As in the XDG base directory specification, which has relative paths ignored.
fn data_home(environment: &BTreeMap<String, String>) -> Option<PathBuf> {
    let folder = |name: &str| environment.get(name).map(PathBuf::from).filter(|path| path.is_absolute());
    folder("XDG_DATA_HOME").or_else(|| folder("HOME").map(|home| home.join(".local/share")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host<const N: usize>(addresses: [(&str, &str); N]) -> Host {
        let addresses = addresses.into_iter().map(|(interface, address)| InterfaceAddress {
            interface: interface.to_owned(),
            address: address.parse().unwrap(),
            is_passing: false,
        });
        Host { addresses: addresses.collect(), ..Host::default() }
    }

    fn shown(found: Option<PublicAddress>) -> String {
        found.map(|found| found.address.to_string()).unwrap_or_default()
    }

    #[test]
    fn a_public_address_goes_before_a_private_one_and_a_bridge_comes_last() {
        let chosen = |host: Host| shown(host.public_ipv4());
        assert_eq!(chosen(host([("eth0", "10.0.0.5"), ("eth1", "198.18.0.1")])), "198.18.0.1");
        assert_eq!(chosen(host([("docker0", "172.17.0.1"), ("eth0", "10.0.0.5")])), "10.0.0.5");
        assert_eq!(chosen(host([("eth0", "169.254.3.4"), ("br-1", "172.18.0.1")])), "172.18.0.1");
        assert_eq!(chosen(host([("eth0", "10.0.0.5"), ("eth1", "10.0.0.6")])), "10.0.0.5");
        assert_eq!(chosen(host([("eth0", "2001:db8::1")])), "");
    }

    #[test]
    fn an_ipv6_address_is_public_only_when_it_is_global_and_stays() {
        let chosen = |host: Host| shown(host.public_ipv6());
        let others = ["fe80::1", "fd00::1", "2002:c612:1::1", "2001:0:1::1", "198.18.0.1"];
        assert_eq!(chosen(host(others.map(|address| ("eth0", address)))), "");
        assert_eq!(chosen(host([("br-1", "2001:db8::1"), ("eth0", "2001:db8::2")])), "2001:db8::2");
        let mut machine = host([("eth0", "2001:db8::1"), ("eth0", "2001:db8::2")]);
        machine.addresses[0].is_passing = true;
        assert_eq!(chosen(machine), "2001:db8::2");
    }

    #[test]
    fn temporary_and_deprecated_addresses_do_not_stay() {
        let table = "20010db8000000000000000000000001 02 40 00 80     eth0\n\
                     20010db8000000000000000000000002 02 40 00 01     eth0\n\
                     20010db8000000000000000000000003 02 40 00 a0     eth0\n\
                     fe80000000000000000000000000000a 02 40 20 80     eth0\n";
        let expected: [Ipv6Addr; 2] = ["2001:db8::2".parse().unwrap(), "2001:db8::3".parse().unwrap()];
        assert_eq!(passing(table), expected);
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
