//! `host[:port]` as URLs carry it.

use std::net::{Ipv4Addr, Ipv6Addr};

/// Takes `host[:port]` apart; an IPv6 address is in brackets. `None` when it is none, or port 0.
pub(crate) fn parse(text: &str) -> Option<(&str, Option<u16>)> {
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (inner, after) = rest.split_once(']')?;
            inner.parse::<Ipv6Addr>().ok()?;
            (&text[..inner.len() + 2], after)
        }
        None => {
            let end = text.find(':').unwrap_or(text.len());
            (&text[..end], &text[end..])
        }
    };
    if !host.starts_with('[') && host.parse::<Ipv4Addr>().is_err() && !is_dns_name(host) {
        return None;
    }
    match port.strip_prefix(':') {
        Some(digits) if digits.bytes().all(|b| b.is_ascii_digit()) => {
            let port = digits.parse().ok().filter(|port| *port != 0)?;
            Some((host, Some(port)))
        }
        None if port.is_empty() => Some((host, None)),
        _ => None,
    }
}

/// A DNS name as in RFC 1123 §2.1, whose last label is not a number: that would be an address.
pub(crate) fn is_dns_name(text: &str) -> bool {
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
    };
    let numeric = |label: &str| label.bytes().all(|b| b.is_ascii_digit());
    text.len() <= 253 && text.split('.').all(label) && !text.rsplit('.').next().is_none_or(numeric)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_and_ports_are_taken_apart() {
        for (text, expected) in [
            ("turn.example.org", Some(("turn.example.org", None))),
            ("localhost:8080", Some(("localhost", Some(8080)))),
            ("198.18.0.1:3478", Some(("198.18.0.1", Some(3478)))),
            ("[2001:db8::1]:3478", Some(("[2001:db8::1]", Some(3478)))),
            ("[::1]", Some(("[::1]", None))),
        ] {
            assert_eq!(parse(text), expected, "{text}");
        }
        for text in [
            "",
            ":80",
            "a:",
            "a:0",
            "a:65536",
            "a:+1",
            "a b",
            "a_b",
            "-a",
            "a..b",
            "1.2.3",
            "1.2.3.4.5",
            "[1.2.3.4]",
            "[::1]80",
            "::1",
            "user@a",
            "a/b",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
