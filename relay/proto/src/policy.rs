//! Which peers a client may reach: deny by default what is not the public internet (RFC 8656 §21.4).
//!
//! An address is reduced first, by [`embedded_ipv4`], and both the outer address and what is wrapped in it are judged.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use ipnet::IpNet;

use crate::{OwnAddresses, Route, counters::labels};

labels! {
    /// Why a peer is denied.
    pub enum Denied {
        /// In the built-in list.
        BuiltIn => "built_in",
        /// In `deny_peers`.
        Configured => "configured",
        /// An address of this node.
        OwnAddress => "own_address",
        /// A port that data is not sent to.
        Port => "port",
    }
}

const DENIED_IPV4: &[&str] = &[
    "0.0.0.0/8",
    "10.0.0.0/8",
    "100.64.0.0/10",
    "127.0.0.0/8",
    "168.63.129.16/32",
    "169.254.0.0/16",
    "172.16.0.0/12",
    "192.0.0.0/24",
    "192.0.2.0/24",
    "192.31.196.0/24",
    "192.52.193.0/24",
    "192.88.99.0/24",
    "192.168.0.0/16",
    "192.175.48.0/24",
    "198.18.0.0/15",
    "198.51.100.0/24",
    "203.0.113.0/24",
    "224.0.0.0/4",
    "240.0.0.0/4",
];
const DENIED_IPV6: &[&str] =
    &["::/0", "2001::/23", "2001:db8::/32", "2002::/16", "2620:4f:8000::/48", "3fff::/20"];
const ALLOWED: &[&str] = &["0.0.0.0/0", "2000::/3"];

#[derive(Debug, Clone, Copy)]
struct Rule {
    network: IpNet,
    verdict: Result<(), Denied>,
    rank: u8,
}

/// The rules of one node.
#[derive(Debug, Clone)]
pub struct PeerPolicy {
    /// Longest prefix first; on a tie `deny_peers`, then `allow_peers`, then the built-in list.
    rules: Vec<Rule>,
    own: OwnAddresses,
    min_port: u16,
}

impl PeerPolicy {
    /// Puts the operator's networks on top of the built-in list.
    pub fn new(allow: &[IpNet], deny: &[IpNet], own: OwnAddresses, min_port: u16) -> Self {
        let built_in = |text: &&str| text.parse::<IpNet>().expect("the built-in list is well-formed");
        let denied = DENIED_IPV4.iter().chain(DENIED_IPV6).map(built_in);
        let mut rules: Vec<Rule> = deny
            .iter()
            .map(|n| Rule { network: n.trunc(), verdict: Err(Denied::Configured), rank: 0 })
            .chain(allow.iter().map(|n| Rule { network: n.trunc(), verdict: Ok(()), rank: 1 }))
            .chain(denied.map(|network| Rule { network, verdict: Err(Denied::BuiltIn), rank: 2 }))
            .chain(ALLOWED.iter().map(built_in).map(|network| Rule { network, verdict: Ok(()), rank: 2 }))
            .collect();
        rules.sort_by_key(|rule| (std::cmp::Reverse(rule.network.prefix_len()), rule.rank));
        Self { rules, own, min_port }
    }

    /// Judges a peer's IP address, as CreatePermission does: its port does not matter (RFC 8656 §10.2).
    ///
    /// # Errors
    /// Why the peer may not be reached.
    pub fn judge(&self, ip: IpAddr) -> Result<(), Denied> {
        self.judge_one(ip)?;
        embedded_ipv4(ip).try_for_each(|inner| self.judge_one(IpAddr::V4(inner)))
    }

    /// Whether data may go to this port of a permitted peer. An address of this node has no open port but those of
    /// live relayed addresses, which the port table knows.
    ///
    /// # Errors
    /// [`Denied::Port`], or [`Denied::OwnAddress`] for a port this node listens on.
    pub fn judge_port(&self, peer: SocketAddr) -> Result<(), Denied> {
        if peer.port() == 0 || peer.port() < self.min_port {
            return Err(Denied::Port);
        }
        match self.is_own(peer.ip()) && self.own.listeners.contains(&peer.port()) {
            true => Err(Denied::OwnAddress),
            false => Ok(()),
        }
    }

    /// Which way data goes to a permitted peer.
    pub fn route(&self, ip: IpAddr) -> Route {
        match self.is_own(ip) {
            true => Route::Own { or_socket: self.opened_by_host_route(ip) },
            false => Route::Socket,
        }
    }

    fn judge_one(&self, ip: IpAddr) -> Result<(), Denied> {
        let rule = self.rules.iter().find(|rule| rule.network.contains(&ip));
        let verdict = rule.map_or(Err(Denied::BuiltIn), |rule| rule.verdict);
        if self.own.relayed.contains(&ip) {
            return match verdict {
                Err(Denied::Configured) => verdict,
                _ => Ok(()),
            };
        }
        match self.own.others.contains(&ip) && !self.opened_by_host_route(ip) {
            true => Err(Denied::OwnAddress),
            false => verdict,
        }
    }

    fn is_own(&self, ip: IpAddr) -> bool {
        self.own.relayed.contains(&ip) || self.own.others.contains(&ip)
    }

    /// An own address opens only by a network of exactly this address.
    fn opened_by_host_route(&self, ip: IpAddr) -> bool {
        let host = IpNet::from(ip);
        let rule = self.rules.iter().find(|rule| rule.network == host);
        rule.is_some_and(|rule| rule.rank == 1)
    }
}

/// The IPv4 addresses wrapped in an IPv6 address: mapped, compatible, NAT64, 6to4, Teredo (server and client), ISATAP.
fn embedded_ipv4(ip: IpAddr) -> impl Iterator<Item = Ipv4Addr> {
    let found: [Option<Ipv4Addr>; 3] = match ip {
        IpAddr::V4(_) => [None; 3],
        IpAddr::V6(v6) => {
            let (prefix, isatap) = embedded_in(v6);
            [prefix[0], prefix[1], isatap]
        }
    };
    found.into_iter().flatten()
}

fn embedded_in(ip: Ipv6Addr) -> ([Option<Ipv4Addr>; 2], Option<Ipv4Addr>) {
    let bits = u128::from(ip);
    let low = Ipv4Addr::from(bits as u32);
    let s = ip.segments();
    let by_prefix = match s {
        // ::ffff:0:0/96 (RFC 4291 §2.5.5.2), ::/96 (§2.5.5.1), ::ffff:0:0:0/96 (RFC 2765), 64:ff9b::/96 (RFC 6052 §2.1)
        [0, 0, 0, 0, 0, 0 | 0xffff, ..] | [0, 0, 0, 0, 0xffff, 0, ..] | [0x64, 0xff9b, 0, 0, 0, 0, ..] => {
            [Some(low), None]
        }
        // 64:ff9b:1::/48 (RFC 8215): the last 32 bits, and bits 48 to 95 with the u octet left out (RFC 6052 §2.2)
        [0x64, 0xff9b, 1, ..] => {
            let o = ip.octets();
            [Some(low), Some(Ipv4Addr::new(o[6], o[7], o[9], o[10]))]
        }
        // 2002::/16 (RFC 3056 §2)
        [0x2002, ..] => [Some(Ipv4Addr::from((bits >> 80) as u32)), None],
        // 2001::/32 (RFC 4380 §4): the server in clear, the client inverted
        [0x2001, 0, ..] => [Some(Ipv4Addr::from((bits >> 64) as u32)), Some(Ipv4Addr::from(!(bits as u32)))],
        _ => [None, None],
    };
    // RFC 5214 §6.1: interface identifier 0000:5efe or 0200:5efe and the address
    let isatap = (matches!(s[4], 0 | 0x0200) && s[5] == 0x5efe).then_some(low);
    (by_prefix, isatap)
}
