//! Whose request it is: the connection's address, or what a trusted proxy says.

use std::net::{IpAddr, SocketAddr};

use axum::http::HeaderMap;
use ipnet::IpNet;

/// The address that a client is limited by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ClientAddress(pub(crate) IpAddr);

/// X-Forwarded-For is believed from the right, as long as a trusted proxy wrote it.
pub(crate) fn client_address(
    connection: SocketAddr,
    headers: &HeaderMap,
    trusted: &[IpNet],
) -> ClientAddress {
    let is_trusted = |ip: IpAddr| trusted.iter().any(|network| network.contains(&ip));
    let mut address = connection.ip().to_canonical();
    let lines = headers.get_all("x-forwarded-for").iter().filter_map(|value| value.to_str().ok());
    let hops: Vec<&str> = lines.flat_map(|line| line.split(',')).map(str::trim).collect();
    for hop in hops.into_iter().rev() {
        let Ok(before) = hop.parse::<IpAddr>() else { break };
        if !is_trusted(address) {
            break;
        }
        address = before.to_canonical();
    }
    ClientAddress(address)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_trusted_proxy_is_believed() {
        let trusted: Vec<IpNet> = vec!["10.0.0.0/8".parse().unwrap()];
        let cases = [
            ("192.0.2.1:1", &["203.0.113.9"][..], "192.0.2.1"),
            ("10.0.0.1:1", &["203.0.113.9"], "203.0.113.9"),
            ("10.0.0.1:1", &["6.6.6.6, 203.0.113.9"], "203.0.113.9"),
            ("10.0.0.1:1", &["203.0.113.9, 10.0.0.2"], "203.0.113.9"),
            ("10.0.0.1:1", &["6.6.6.6", "203.0.113.9, 10.0.0.2"], "203.0.113.9"),
            ("10.0.0.1:1", &["nonsense"], "10.0.0.1"),
            ("10.0.0.1:1", &["203.0.113.9, nonsense"], "10.0.0.1"),
            ("10.0.0.1:1", &[], "10.0.0.1"),
            ("[::ffff:10.0.0.1]:1", &["2001:db8::1"], "2001:db8::1"),
        ];
        for (connection, lines, expected) in cases {
            let mut headers = HeaderMap::new();
            for line in lines {
                headers.append("x-forwarded-for", line.parse().unwrap());
            }
            let found = client_address(connection.parse().unwrap(), &headers, &trusted);
            assert_eq!(found, ClientAddress(expected.parse().unwrap()), "{connection} {lines:?}");
        }
    }
}
