use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    time::Duration,
};

use toml::Spanned;

use super::Purpose;
use crate::{
    Host, Node, PublicAddress, Relay, RelayAddress,
    check::{Checker, by_family, ipv4, ipv6, listener, network, unless_empty},
    raw::{self, Key, List},
};

const MIN_RELAY_PORT: u16 = 1024;
const MAX_ALLOCATIONS: u64 = 65_535;
const MAX_SHARDS: u64 = 256;
const MAX_PERMISSIONS: u64 = 65_536;
/// Channel numbers 0x4000-0x4FFF (RFC 8656 §12).
const MAX_CHANNELS: u64 = 4096;
/// Answers a second to one source: a limit beyond is none.
const MAX_ANSWERS: u64 = 1_000_000;
/// No allocation lives shorter than this (RFC 8656 §7.2).
const MIN_LIFETIME: Duration = Duration::from_secs(600);
const MINUTE: Duration = Duration::from_secs(60);
const DAY: Duration = Duration::from_secs(86_400);

pub(super) fn resolve(
    c: &mut Checker<'_>,
    raw: raw::Relay,
    node: &Node,
    host: &Host,
    purpose: Purpose<'_>,
) -> Relay {
    let (listen_udp, port_range) = ports(c, raw.listen_udp, raw.port_range);
    let listen_tcp = by_family(c.take_list("relay.listen_tcp", raw.listen_tcp, any_address(), listener));
    let (default_lifetime, max_lifetime) = lifetimes(c, raw.default_lifetime, raw.max_lifetime);
    let v4 = |text: &str| ipv4(text).map(IpAddr::V4);
    let v6 = |text: &str| ipv6(text).map(IpAddr::V6);
    let relay_ipv4 = relay_address(c, "ipv4", raw.relay_ipv4, v4, node.public_ipv4.as_ref(), host);
    let relay_ipv6 = relay_address(c, "ipv6", raw.relay_ipv6, v6, node.public_ipv6.as_ref(), host);
    let admin_socket = purpose.default_path("/run/turnpike/relay.sock", &node.state_dir, "relay.sock");
    Relay {
        listen_udp,
        listen_tcp,
        relay_ipv4,
        relay_ipv6,
        port_range,
        shards: match c.number("relay.shards", raw.shards, 0, 0..=MAX_SHARDS) {
            0 => host.cores.max(1),
            shards => shards,
        },
        max_allocations: max_allocations(c, raw.max_allocations, port_range),
        max_allocations_per_subject: c.number(
            "relay.max_allocations_per_subject",
            raw.max_allocations_per_subject,
            40,
            0..=MAX_ALLOCATIONS,
        ),
        max_allocations_per_ip: c.number(
            "relay.max_allocations_per_ip",
            raw.max_allocations_per_ip,
            0,
            0..=MAX_ALLOCATIONS,
        ),
        max_permissions_per_allocation: c.number(
            "relay.max_permissions_per_allocation",
            raw.max_permissions_per_allocation,
            128,
            1..=MAX_PERMISSIONS,
        ),
        max_channels_per_allocation: c.number(
            "relay.max_channels_per_allocation",
            raw.max_channels_per_allocation,
            128,
            1..=MAX_CHANNELS,
        ),
        max_bitrate_per_allocation: c
            .bit_rate("relay.max_bitrate_per_allocation", raw.max_bitrate_per_allocation),
        max_bitrate_per_subject: c.bit_rate("relay.max_bitrate_per_subject", raw.max_bitrate_per_subject),
        max_bitrate_total: c.bit_rate("relay.max_bitrate_total", raw.max_bitrate_total),
        default_lifetime,
        max_lifetime,
        strict_permissions: c.flag(raw.strict_permissions, false),
        rfc5766_channel_numbers: c.flag(raw.rfc5766_channel_numbers, false),
        allow_peers: c.take_list("relay.allow_peers", raw.allow_peers, Vec::new(), network),
        deny_peers: c.take_list("relay.deny_peers", raw.deny_peers, Vec::new(), network),
        min_peer_port: c.number("relay.min_peer_port", raw.min_peer_port, 1024, 0..=65_535),
        unauthenticated_per_second: c.number(
            "relay.unauthenticated_per_second",
            raw.unauthenticated_per_second,
            100,
            0..=MAX_ANSWERS,
        ),
        binding_per_second: c.number(
            "relay.binding_per_second",
            raw.binding_per_second,
            1000,
            0..=MAX_ANSWERS,
        ),
        software_attribute: c.flag(raw.software_attribute, false),
        drain_timeout: c.duration("relay.drain_timeout", raw.drain_timeout, MINUTE, Duration::ZERO..=DAY),
        drain_alternate: c.take(
            "relay.drain_alternate",
            raw.drain_alternate,
            None,
            unless_empty(another_relay),
        ),
        admin_socket: c
            .take("relay.admin_socket", raw.admin_socket, admin_socket, |text| purpose.socket_path(&text)),
    }
}

fn ports(c: &mut Checker<'_>, listeners: List, range: Key<Vec<i64>>) -> (Vec<SocketAddr>, (u16, u16)) {
    let span = range.as_ref().map(Spanned::span);
    let listen_udp = by_family(c.take_filled_list("relay.listen_udp", listeners, any_address(), listener));
    let (first, last) = c.take("relay.port_range", range, (49_152, 65_535), |ports| port_range(&ports));
    if let Some(listener) = listen_udp.iter().find(|listener| (first..=last).contains(&listener.port())) {
        let refusal = format!("{first}-{last} holds the port of the listener {listener}: move one of them");
        c.refuse("relay.port_range", span.as_ref(), &refusal);
    }
    (listen_udp, (first, last))
}

fn lifetimes(c: &mut Checker<'_>, default: Key<String>, longest: Key<String>) -> (Duration, Duration) {
    let span = default.as_ref().map(Spanned::span);
    let longest = c.duration("relay.max_lifetime", longest, MIN_LIFETIME, MIN_LIFETIME..=DAY);
    let default = c.duration("relay.default_lifetime", default, MIN_LIFETIME, MIN_LIFETIME..=DAY);
    if default > longest {
        let refusal = "is longer than `relay.max_lifetime`: lower it, or raise the other";
        c.refuse("relay.default_lifetime", span.as_ref(), refusal);
    }
    (default, longest)
}

/// Nine tenths of the range by default, so that a free port is found in a few tries.
fn max_allocations(c: &mut Checker<'_>, raw: Key<i64>, (first, last): (u16, u16)) -> usize {
    let span = raw.as_ref().map(Spanned::span);
    let ports = usize::from(last - first) + 1;
    let most = c.number("relay.max_allocations", raw, 0, 0..=MAX_ALLOCATIONS);
    if most > ports {
        let refusal =
            format!("is {most}, but `relay.port_range` has {ports} ports: lower it, or widen the range");
        c.refuse("relay.max_allocations", span.as_ref(), &refusal);
    }
    match most {
        0 => (ports * 9 / 10).max(1),
        _ => most,
    }
}

fn any_address() -> Vec<SocketAddr> {
    vec![SocketAddr::from((Ipv6Addr::UNSPECIFIED, 3478))]
}

/// Relay sockets are bound, unless the key says where, on the advertised address if this machine has it, else on any.
fn relay_address(
    c: &mut Checker<'_>,
    family: &str,
    raw: Key<String>,
    read: impl Fn(&str) -> Result<IpAddr, String>,
    public: Option<&PublicAddress>,
    host: &Host,
) -> Option<RelayAddress> {
    let (key, span) = (format!("relay.relay_{family}"), raw.as_ref().map(Spanned::span));
    let written = c.take(&key, raw, None, unless_empty(read));
    let Some(PublicAddress { address: advertised, .. }) = public else {
        if let Some(written) = written {
            let refusal = format!(
                "is {written}, but `node.public_{family}` is \"none\" or was not found, so that nothing is relayed \
                 there: write that address too, or leave this one empty"
            );
            c.refuse(&key, span.as_ref(), &refusal);
        }
        return None;
    };
    let own = match host.holds(*advertised) || advertised.is_loopback() {
        true => *advertised,
        false if advertised.is_ipv4() => Ipv4Addr::UNSPECIFIED.into(),
        false => Ipv6Addr::UNSPECIFIED.into(),
    };
    Some(RelayAddress { bound: written.unwrap_or(own), advertised: *advertised })
}

/// The listener of another relay. A name will not do: clients are told an address (RFC 8489 §14.15).
fn another_relay(text: &str) -> Result<SocketAddr, String> {
    text.parse().ok().filter(|address: &SocketAddr| address.port() != 0).ok_or_else(|| {
        format!("is \"{text}\": write the address and port of another relay, such as \"198.18.0.2:3478\"")
    })
}

fn port_range(ports: &[i64]) -> Result<(u16, u16), String> {
    let &[first, last] = ports else {
        return Err("takes two numbers: write the first and the last port, such as [49152, 65535]".to_owned());
    };
    let port = |number: i64| {
        u16::try_from(number).ok().filter(|port| *port >= MIN_RELAY_PORT).ok_or_else(|| {
            format!("holds {number}: relay ports lie from {MIN_RELAY_PORT} to 65535 (RFC 8656 §7.2)")
        })
    };
    let (first, last) = (port(first)?, port(last)?);
    match first <= last {
        true => Ok((first, last)),
        false => Err(format!("ends before it starts: write [{last}, {first}]")),
    }
}
