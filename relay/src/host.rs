//! What the host brings along: its addresses, its ephemeral ports, its limit of open files.

use std::{
    fs, io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use turnpike_config::{Config, RelayAddress};
use turnpike_proto::OwnAddresses;

use crate::io::interface_addresses;

/// Open files beside the relay sockets: listeners, HTTP connections, what else the process does.
const OTHER_FILES: u64 = 512;

/// The addresses of this node, which peers may be only as relayed addresses.
///
/// # Errors
/// When the kernel does not tell the addresses of the interfaces.
pub(crate) fn own_addresses(
    relay: impl IntoIterator<Item = RelayAddress>,
    listeners: &[SocketAddr],
) -> io::Result<OwnAddresses> {
    let mut relayed = Vec::new();
    for RelayAddress { bound, advertised } in relay {
        relayed.push(advertised);
        if !bound.is_unspecified() && bound != advertised {
            relayed.push(bound);
        }
    }
    let mut others = interface_addresses()?;
    others.extend(listeners.iter().map(SocketAddr::ip));
    // The unspecified addresses reach this host as well.
    others.extend([IpAddr::V4(Ipv4Addr::UNSPECIFIED), IpAddr::V6(Ipv6Addr::UNSPECIFIED)]);
    others.sort_unstable();
    others.dedup();
    others.retain(|ip| !relayed.contains(ip));
    let mut ports: Vec<u16> = listeners.iter().map(SocketAddr::port).collect();
    ports.sort_unstable();
    ports.dedup();
    Ok(OwnAddresses { relayed, others, listeners: ports })
}

/// Says so where the kernel may give relay ports to other programs.
pub(crate) fn warn_of_shared_ports(range: (u16, u16)) {
    if let Some(cure) = ports_given_to_others(range) {
        tracing::warn!("{cure}");
    }
}

/// Which relay ports the kernel gives to other programs, and how to keep them; `None` when it gives none.
pub fn ports_given_to_others(range: (u16, u16)) -> Option<String> {
    let read = |name| fs::read_to_string(format!("/proc/sys/net/ipv4/{name}")).unwrap_or_default();
    let reserved = read("ip_local_reserved_ports");
    let (first, last) = shared_ports(range, &read("ip_local_port_range"), &reserved)?;
    let mut value = reserved.trim().to_owned();
    if !value.is_empty() {
        value.push(',');
    }
    Some(format!(
        "relay ports {first}-{last} are also given by the kernel to other programs, which will take some of them; \
         to reserve them: sysctl -w net.ipv4.ip_local_reserved_ports={value}{}-{}",
        range.0, range.1
    ))
}

/// How many files this process may open, where that is limited, and how many a configuration may need: each allocation
/// is one for each relayed address, and another where its client comes by a stream; each visitor over HTTPS is two.
pub fn open_files(config: &Config) -> (Option<u64>, u64) {
    let Config { relay, tls, .. } = config;
    let families = usize::from(relay.relay_ipv4.is_some()) + usize::from(relay.relay_ipv6.is_some());
    let has_streams = !relay.listen_tcp.is_empty() || tls.is_some();
    let files = relay.max_allocations * (families + usize::from(has_streams)) + 2 * visitors(config);
    (getrlimit(Resource::Nofile).maximum, files as u64 + OTHER_FILES)
}

fn visitors(config: &Config) -> usize {
    match config.tls.is_some() && config.signaling.internal_socket.is_some() {
        true => config.signaling.max_sockets,
        false => 0,
    }
}

/// Takes as many open files as the process may have, and says so where that is too few.
pub(crate) fn raise_open_files(config: &Config) {
    let (allocations, visitors) = (config.relay.max_allocations, visitors(config));
    let (_, needed) = open_files(config);
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    let got = match setrlimit(Resource::Nofile, raised) {
        Ok(()) => limit.maximum,
        Err(_) => limit.current,
    };
    if let Some(got) = got.filter(|got| *got < needed) {
        tracing::warn!(
            "only {got} files may be open, too few for {allocations} allocations{}; raise LimitNOFILE= of the unit or \
             `ulimit -Hn` to {needed}, or lower relay.max_allocations{}",
            if visitors > 0 { format!(" and {visitors} visitors over HTTPS") } else { String::new() },
            if visitors > 0 { " or signaling.max_sockets" } else { "" }
        );
    }
}

/// The first and last relay port that the kernel gives to others: in its range and not reserved.
fn shared_ports(range: (u16, u16), ephemeral: &str, reserved: &str) -> Option<(u16, u16)> {
    let mut bounds = ephemeral.split_whitespace().map(str::parse::<u16>);
    let (Some(Ok(low)), Some(Ok(high))) = (bounds.next(), bounds.next()) else { return None };
    let reserved: Vec<(u16, u16)> = reserved.trim().split(',').filter_map(parse_range).collect();
    let is_shared = |port: &u16| !reserved.iter().any(|(first, last)| (*first..=*last).contains(port));
    let mut shared = (range.0.max(low)..=range.1.min(high)).filter(is_shared);
    let first = shared.next()?;
    Some((first, shared.next_back().unwrap_or(first)))
}

fn parse_range(text: &str) -> Option<(u16, u16)> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    Some((first.parse().ok()?, last.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_shared_where_the_kernel_gives_them_and_they_are_not_reserved() {
        let cases = [
            ((49_152, 65_535), "32768\t60999\n", "\n", Some((49_152, 60_999))),
            ((49_152, 65_535), "32768\t60999\n", "49152-65535\n", None),
            ((49_152, 65_535), "32768\t60999\n", "3478,49152-60000\n", Some((60_001, 60_999))),
            ((49_152, 49_153), "32768\t60999\n", "49152\n", Some((49_153, 49_153))),
            ((20_000, 29_999), "32768\t60999\n", "\n", None),
            ((49_152, 65_535), "", "", None),
        ];
        for (range, ephemeral, reserved, expected) in cases {
            assert_eq!(
                shared_ports(range, ephemeral, reserved),
                expected,
                "{range:?} {ephemeral:?} {reserved:?}"
            );
        }
    }

    #[test]
    fn addresses_of_the_host_are_own_and_only_advertised_and_bound_ones_relayed() {
        let bound: IpAddr = Ipv4Addr::LOCALHOST.into();
        let advertised: IpAddr = Ipv4Addr::new(198, 18, 0, 1).into();
        let ipv6: IpAddr = "2001:db8::1".parse().unwrap();
        let listeners = ["127.0.0.2:3478".parse().unwrap(), "0.0.0.0:3478".parse().unwrap()];
        let relay = [RelayAddress { bound, advertised }, RelayAddress { bound: ipv6, advertised: ipv6 }];
        let own = own_addresses(relay, &listeners).unwrap();
        assert_eq!(own.relayed, [advertised, bound, ipv6]);
        assert_eq!(own.listeners, [3478]);
        for ip in ["127.0.0.2", "0.0.0.0", "::"] {
            assert!(own.others.contains(&ip.parse().unwrap()), "{ip}");
        }
        assert!(!own.others.contains(&bound));
        let on_any = RelayAddress { bound: Ipv4Addr::UNSPECIFIED.into(), advertised };
        let on_any = own_addresses([on_any], &listeners).unwrap();
        assert_eq!(on_any.relayed, [advertised]);
        assert!(on_any.others.contains(&bound));
    }
}
