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
/// What is not 2000::/3, and special networks in it. In three parts, so that `::/0` in `allow_peers` opens as little as
/// `0.0.0.0/0` does.
const DENIED_IPV6: &[&str] = &[
    "::/3",
    // The unspecified address and loopback, which only their own names open.
    "::/127",
    "4000::/2",
    "8000::/1",
    "2001::/23",
    "2001:db8::/32",
    "2002::/16",
    "2620:4f:8000::/48",
    "3fff::/20",
];
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
        let is_own =
            || self.is_own(peer.ip()) || embedded_ipv4(peer.ip()).any(|inner| self.is_own(IpAddr::V4(inner)));
        match self.own.listeners.contains(&peer.port()) && is_own() {
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
        // A network that holds this node's relayed address is closed without it: what goes there stays in the process,
        // and two users of one node reach each other.
        if self.own.relayed.contains(&ip) {
            return match self.host_rule(ip) {
                Some(Rule { verdict: denied @ Err(Denied::Configured), .. }) => *denied,
                _ => Ok(()),
            };
        }
        if self.own.others.contains(&ip) && !self.opened_by_host_route(ip) {
            return Err(Denied::OwnAddress);
        }
        let rule = self.rules.iter().find(|rule| rule.network.contains(&ip));
        rule.map_or(Err(Denied::BuiltIn), |rule| rule.verdict)
    }

    fn is_own(&self, ip: IpAddr) -> bool {
        self.own.relayed.contains(&ip) || self.own.others.contains(&ip)
    }

    /// An own address opens only by a network of exactly this address.
    fn opened_by_host_route(&self, ip: IpAddr) -> bool {
        self.host_rule(ip).is_some_and(|rule| rule.rank == 1)
    }

    /// The rule for this address and no other.
    fn host_rule(&self, ip: IpAddr) -> Option<&Rule> {
        let host = IpNet::from(ip);
        self.rules.iter().find(|rule| rule.network == host)
    }
}

/// Whether an address is one of Teredo's or 6to4's, whose users no relay may serve (RFC 8656 §21.4): their relays would
/// carry each datagram a second time.
pub(crate) fn is_tunnel(ip: IpAddr) -> bool {
    matches!(ip, IpAddr::V6(v6) if matches!(v6.segments(), [0x2001, 0, ..] | [0x2002, ..]))
}

/// The IPv4 addresses that an IPv6 address may stand for: mapped, compatible, translated, NAT64, 6to4, Teredo (server
/// and client), ISATAP.
fn embedded_ipv4(ip: IpAddr) -> impl Iterator<Item = Ipv4Addr> {
    let found: [Option<Ipv4Addr>; 5] = match ip {
        IpAddr::V4(_) => [None; 5],
        IpAddr::V6(v6) => {
            let [a, b, c, d] = embedded_by_prefix(v6);
            [a, b, c, d, embedded_by_isatap(v6)]
        }
    };
    found.into_iter().flatten()
}

fn embedded_by_prefix(ip: Ipv6Addr) -> [Option<Ipv4Addr>; 4] {
    let o = ip.octets();
    let at = |octets: [usize; 4]| Some(Ipv4Addr::from(octets.map(|n| o[n])));
    let last = at([12, 13, 14, 15]);
    match ip.segments() {
        // The unspecified address and loopback are none of ::/96 (RFC 4291 §2.5.5.1).
        [0, 0, 0, 0, 0, 0, 0, 0 | 1] => [None; 4],
        // ::ffff:0:0/96 (RFC 4291 §2.5.5.2), ::/96 (§2.5.5.1), ::ffff:0:0:0/96 (RFC 2765), 64:ff9b::/96 (RFC 6052 §2.1)
        [0, 0, 0, 0, 0, 0 | 0xffff, ..] | [0, 0, 0, 0, 0xffff, 0, ..] | [0x64, 0xff9b, 0, 0, 0, 0, ..] => {
            [last, None, None, None]
        }
        // 64:ff9b:1::/48 (RFC 8215) is cut by its owner: every layout of RFC 6052 §2.2 that fits in it
        [0x64, 0xff9b, 1, ..] => [at([6, 7, 9, 10]), at([7, 9, 10, 11]), at([9, 10, 11, 12]), last],
        // 2002::/16 (RFC 3056 §2)
        [0x2002, ..] => [at([2, 3, 4, 5]), None, None, None],
        // 2001::/32 (RFC 4380 §4): the server in clear, the client inverted
        [0x2001, 0, ..] => {
            let client = last.map(|ip| Ipv4Addr::from(!u32::from(ip)));
            [at([4, 5, 6, 7]), client, None, None]
        }
        _ => [None; 4],
    }
}

/// RFC 5214 §6.1: interface identifier 0000:5efe or 0200:5efe and the address.
fn embedded_by_isatap(ip: Ipv6Addr) -> Option<Ipv4Addr> {
    let [.., a, b, c, d] = ip.octets();
    let s = ip.segments();
    (matches!(s[4], 0 | 0x0200) && s[5] == 0x5efe).then(|| Ipv4Addr::new(a, b, c, d))
}
