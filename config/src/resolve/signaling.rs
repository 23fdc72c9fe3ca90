use std::{
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    path::PathBuf,
    time::Duration,
};

use toml::Spanned;

use super::{Purpose, authority};
use crate::{
    Mint, Node, Signaling, Tls,
    check::{Checker, listener, network},
    raw::{self, Key, List},
};

const MAX_SOCKETS: u64 = 1_000_000;
const MAX_MINTS: u64 = 1_000_000;
const SECOND: Duration = Duration::from_secs(1);
const DAY: Duration = Duration::from_secs(86_400);

/// With TLS, strangers come by the relay's TLS listener, and plain HTTP is for this machine.
pub(super) fn resolve(
    c: &mut Checker<'_>,
    raw: raw::Signaling,
    tls: Option<&Tls>,
    node: &Node,
    purpose: Purpose<'_>,
) -> Signaling {
    let listen = match tls {
        Some(_) => SocketAddr::from((Ipv4Addr::LOCALHOST, 8080)),
        None => SocketAddr::from((Ipv6Addr::UNSPECIFIED, 8080)),
    };
    let path = "/socket.io".to_owned();
    Signaling {
        listen: listeners(c, raw.listen, vec![listen], tls),
        internal_socket: internal_socket(c, raw.internal_socket, node, purpose).filter(|_| tls.is_some()),
        path: c.take("signaling.path", raw.path, path, socket_io_path),
        polling: c.flag(raw.polling, false),
        trusted_proxies: c.take_list("signaling.trusted_proxies", raw.trusted_proxies, Vec::new(), network),
        origins: c.take_list("signaling.origins", raw.origins, Vec::new(), origin),
        max_sockets: c.number("signaling.max_sockets", raw.max_sockets, 50_000, 1..=MAX_SOCKETS),
        max_sockets_per_ip: c.number(
            "signaling.max_sockets_per_ip",
            raw.max_sockets_per_ip,
            200,
            1..=MAX_SOCKETS,
        ),
        widen_after: c.duration("signaling.widen_after", raw.widen_after, 8 * SECOND, Duration::ZERO..=DAY),
        accept_within: c.duration(
            "signaling.accept_within",
            raw.accept_within,
            3 * SECOND,
            SECOND..=60 * SECOND,
        ),
        resume_for: c.duration("signaling.resume_for", raw.resume_for, 30 * SECOND, SECOND..=600 * SECOND),
        pair_grace: c.duration("signaling.pair_grace", raw.pair_grace, 15 * SECOND, SECOND..=600 * SECOND),
        rematch_after: c.duration(
            "signaling.rematch_after",
            raw.rematch_after,
            300 * SECOND,
            Duration::ZERO..=DAY,
        ),
        ban_after_reports: c.number("signaling.ban_after_reports", raw.ban_after_reports, 3, 0..=1000),
        ban_for: c.duration("signaling.ban_for", raw.ban_for, DAY, 60 * SECOND..=365 * DAY),
    }
}

fn listeners(c: &mut Checker<'_>, raw: List, default: Vec<SocketAddr>, tls: Option<&Tls>) -> Vec<SocketAddr> {
    let span = raw.as_ref().map(Spanned::span);
    let listeners = c.take_filled_list("signaling.listen", raw, default, listener);
    let secure = tls.map_or(&[][..], |tls| &tls.listen);
    if let Some(twice) = listeners.iter().find(|listener| secure.contains(listener)) {
        let refusal =
            format!("holds {twice}, which `tls.listen` has: the page is there over HTTPS, so remove it here");
        c.refuse("signaling.listen", span.as_ref(), &refusal);
    }
    listeners
}

fn internal_socket(
    c: &mut Checker<'_>,
    raw: Key<String>,
    node: &Node,
    purpose: Purpose<'_>,
) -> Option<PathBuf> {
    let default = purpose.default_path("/run/turnpike/signaling.sock", &node.state_dir, "signaling.sock");
    Some(c.take("signaling.internal_socket", raw, default, |text| purpose.socket_path(&text)))
}

pub(super) fn mint(c: &mut Checker<'_>, raw: raw::Mint) -> Mint {
    Mint {
        anonymous: c.flag(raw.anonymous, false),
        per_ip_per_minute: c.number("mint.per_ip_per_minute", raw.per_ip_per_minute, 10, 1..=MAX_MINTS),
        per_ip_per_hour: c.number("mint.per_ip_per_hour", raw.per_ip_per_hour, 60, 1..=MAX_MINTS),
    }
}

fn socket_io_path(text: String) -> Result<String, String> {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '/' | '-' | '_' | '.');
    let fit = text.len() > 1 && text.starts_with('/') && !text.ends_with('/') && text.chars().all(plain);
    match fit {
        true => Ok(text),
        false => Err(format!("is \"{text}\": write a path that starts with \"/\", such as \"/socket.io\"")),
    }
}

/// An origin as browsers send it: lower case, without the port that its scheme implies (RFC 6454 §6.2).
fn origin(text: &str) -> Result<String, String> {
    let refusal = || {
        format!(
            "holds \"{text}\": write an origin, such as \"https://chat.example.org\", without path or wildcard"
        )
    };
    let lower = text.to_ascii_lowercase();
    let (scheme, authority) = lower.split_once("://").ok_or_else(refusal)?;
    let implied = match scheme {
        "http" => 80,
        "https" => 443,
        _ => return Err(refusal()),
    };
    match authority::parse(authority).ok_or_else(refusal)? {
        (host, Some(port)) if port != implied => Ok(format!("{scheme}://{host}:{port}")),
        (host, _) => Ok(format!("{scheme}://{host}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_is_kept_as_browsers_send_it() {
        for (text, expected) in [
            ("https://Chat.Example.org", "https://chat.example.org"),
            ("https://a.org:443", "https://a.org"),
            ("http://a.org:443", "http://a.org:443"),
            ("http://[::1]:8080", "http://[::1]:8080"),
        ] {
            assert_eq!(origin(text).unwrap(), expected);
        }
        for text in
            ["*", "https://*.a.org", "https://a.org/", "https://a.org/x", "ws://a.org", "a.org", "null"]
        {
            assert!(origin(text).is_err(), "{text}");
        }
    }
}
