//! What is to be probed: a URL of RFC 7065 or RFC 7064, or a host, whose usual ways are all tried.

use std::{
    io,
    net::{IpAddr, SocketAddr, ToSocketAddrs as _},
    str::FromStr,
};

use turnpike_turn_client::Transport;

use super::Way;

const PORT: u16 = 3478;
const TLS_PORT: u16 = 5349;
/// Where networks that let out nothing else let TLS out.
const HTTPS_PORT: u16 = 443;

/// A server and the ways to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Target {
    pub(crate) host: String,
    /// In the order in which they are tried; of a host alone, those behind the first may be missing.
    ways: Vec<(Transport, u16)>,
    /// Whether the ways were asked for one by one.
    is_exact: bool,
}

impl FromStr for Target {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (scheme, rest) = match text.split_once(':') {
            Some((scheme @ ("turn" | "turns" | "stun" | "stuns"), rest)) => (Some(scheme), rest),
            _ => (None, text),
        };
        let (authority, query) =
            rest.split_once('?').map_or((rest, None), |(before, query)| (before, Some(query)));
        let (host, port) = split_port(authority)
            .filter(|(host, _)| !host.is_empty() && !host.contains(['/', '@', ' ']))
            .ok_or_else(|| {
                format!("`{text}` is no server: write turn:turn.example.org:3478?transport=udp, or a host")
            })?;
        let is_secure = matches!(scheme, Some("turns" | "stuns"));
        let transport = match (query, is_secure) {
            (None | Some("transport=tcp"), true) => Some(Transport::Tls),
            (Some("transport=tcp"), false) => Some(Transport::Tcp),
            (Some("transport=udp"), false) => Some(Transport::Udp),
            (None, false) => scheme.map(|_| Transport::Udp),
            (Some(query), _) => {
                return Err(format!("`?{query}` is none of ?transport=udp and ?transport=tcp"));
            }
        };
        let ways = match transport {
            Some(transport) => {
                let usual = if transport == Transport::Tls { TLS_PORT } else { PORT };
                vec![(transport, port.unwrap_or(usual))]
            }
            None => match port {
                Some(port) => vec![(Transport::Udp, port), (Transport::Tcp, port)],
                None => vec![
                    (Transport::Udp, PORT),
                    (Transport::Tcp, PORT),
                    (Transport::Tls, HTTPS_PORT),
                    (Transport::Tls, TLS_PORT),
                ],
            },
        };
        Ok(Self { host: host.to_owned(), is_exact: transport.is_some(), ways })
    }
}

impl Target {
    /// Each way to each of the server's addresses, one of a family.
    ///
    /// # Errors
    /// When the name has no address.
    pub(crate) fn resolve(&self) -> io::Result<Vec<Way>> {
        let all: Vec<IpAddr> =
            (self.host.as_str(), 0).to_socket_addrs()?.map(|address| address.ip().to_canonical()).collect();
        let of = |v4: bool| all.iter().find(move |ip| ip.is_ipv4() == v4);
        let first = [of(true), of(false)].into_iter().flatten();
        Ok(first
            .flat_map(|ip| {
                self.ways.iter().enumerate().map(move |(at, (transport, port))| Way {
                    transport: *transport,
                    server: SocketAddr::new(*ip, *port),
                    host: self.host.clone(),
                    is_optional: at > 0 && !self.is_exact,
                })
            })
            .collect())
    }
}

/// `host`, `host:port`, `[v6]`, `[v6]:port` or a bare IPv6 address.
fn split_port(text: &str) -> Option<(&str, Option<u16>)> {
    if let Some(rest) = text.strip_prefix('[') {
        let (host, behind) = rest.split_once(']')?;
        let port = match behind.strip_prefix(':') {
            Some(port) => Some(port.parse().ok()?),
            None => behind.is_empty().then_some(None)?,
        };
        return Some((host, port));
    }
    match text.split_once(':') {
        Some((_, rest)) if rest.contains(':') => Some((text, None)),
        Some((host, port)) => Some((host, Some(port.parse().ok()?))),
        None => Some((text, None)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ways(text: &str) -> Vec<String> {
        let target: Target = text.parse().unwrap();
        target.ways.iter().map(|(transport, port)| format!("{transport} {} {port}", target.host)).collect()
    }

    #[test]
    fn urls_name_one_way_and_hosts_all_usual_ones() {
        for (text, expected) in [
            ("turn:a.example", vec!["udp a.example 3478"]),
            ("turn:a.example:80?transport=tcp", vec!["tcp a.example 80"]),
            ("turns:a.example?transport=tcp", vec!["tls a.example 5349"]),
            ("turns:[2001:db8::1]:443", vec!["tls 2001:db8::1 443"]),
            ("stun:192.0.2.1", vec!["udp 192.0.2.1 3478"]),
            ("a.example:99", vec!["udp a.example 99", "tcp a.example 99"]),
            (
                "2001:db8::1",
                vec![
                    "udp 2001:db8::1 3478",
                    "tcp 2001:db8::1 3478",
                    "tls 2001:db8::1 443",
                    "tls 2001:db8::1 5349",
                ],
            ),
        ] {
            assert_eq!(ways(text), expected, "{text}");
        }
    }

    #[test]
    fn what_is_no_server_is_refused() {
        for text in [
            "",
            "turn:",
            "turn:a:b",
            "https://a.example/",
            "a b",
            "turn:a?transport=sctp",
            "turns:a?transport=udp",
            "[::1",
            "[::1]x",
        ] {
            assert!(text.parse::<Target>().is_err(), "{text}");
        }
    }

    #[test]
    fn what_a_host_need_not_have_is_optional() {
        let optional = |text: &str| -> Vec<bool> {
            text.parse::<Target>().unwrap().resolve().unwrap().iter().map(|way| way.is_optional).collect()
        };
        assert_eq!(optional("127.0.0.1"), [false, true, true, true]);
        assert_eq!(optional("turns:127.0.0.1"), [false]);
    }
}
