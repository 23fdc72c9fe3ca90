use std::net::{IpAddr, SocketAddr};

use super::authority;
use crate::{Ice, IcePolicy, Node, Relay, Tls, check::Checker, raw, raw::Urls};

/// Browsers take long to gather from more, and every TURN URL costs a client one allocation.
const MOST_URLS: usize = 4;

pub(super) fn resolve(
    c: &mut Checker<'_>,
    raw: raw::Ice,
    node: &Node,
    relay: &Relay,
    tls: Option<&Tls>,
) -> Ice {
    let policy_span = raw.policy.as_ref().map(toml::Spanned::span);
    let addresses: Vec<IpAddr> = node.public_addresses().map(|public| public.address).collect();
    let auto = auto_urls(node.domain.as_deref(), &addresses, relay, tls);
    let own_turn_urls = auto.1.clone();
    let is_auto = raw.urls.as_ref().is_none_or(|urls| matches!(urls.get_ref(), Urls::Word(_)));
    if is_auto && auto.0.is_empty() && !relay.listen_udp.is_empty() {
        let refusal = "has no listener of the family of this node's public address, so that clients can be told of \
                       none: add one, or write `ice.urls`";
        c.refuse("relay.listen_udp", None, refusal);
    }
    let (stun_urls, turn_urls) = c.take("ice.urls", raw.urls, auto.clone(), |urls| match urls {
        Urls::Word(word) if word == "auto" => Ok(auto),
        Urls::Word(word) => Err(format!("is \"{word}\": write \"auto\" or a list of URLs")),
        Urls::List(list) => split(&list),
    });
    let policy = c.take("ice.policy", raw.policy, IcePolicy::All, |policy| match policy.as_str() {
        "all" => Ok(IcePolicy::All),
        "relay" => Ok(IcePolicy::Relay),
        other => Err(format!("is \"{other}\": write \"all\" or \"relay\"")),
    });
    if policy == IcePolicy::Relay && turn_urls.is_empty() {
        let refusal = "is \"relay\", but `ice.urls` names no relay, so no call could start: add a turn: URL";
        c.refuse("ice.policy", policy_span.as_ref(), refusal);
    }
    Ice { own_relay: turn_urls == own_turn_urls, stun_urls, turn_urls, policy }
}

/// STUN and TURN URLs of this node: by name, or by address for each family that has a listener. TURN is given over UDP,
/// TCP and, by name alone, TLS. There are no more than [`MOST_URLS`]: STUN by a second address gives way.
pub(crate) fn auto_urls(
    domain: Option<&str>,
    addresses: &[IpAddr],
    relay: &Relay,
    tls: Option<&Tls>,
) -> (Vec<String>, Vec<String>) {
    let places = |listeners: &[SocketAddr]| -> Vec<String> {
        let by_address = |address: &IpAddr| {
            let listener = listeners.iter().find(|listener| listener.is_ipv4() == address.is_ipv4())?;
            Some(SocketAddr::new(*address, listener.port()).to_string())
        };
        match (domain, listeners.first()) {
            (Some(name), Some(first)) => vec![format!("{name}:{}", first.port())],
            _ => addresses.iter().filter_map(by_address).collect(),
        }
    };
    let udp = places(&relay.listen_udp);
    let mut turn: Vec<String> = udp.iter().map(|place| format!("turn:{place}?transport=udp")).collect();
    turn.extend(places(&relay.listen_tcp).first().map(|place| format!("turn:{place}?transport=tcp")));
    if let (Some(name), Some(tls)) = (domain, tls) {
        turn.push(format!("turns:{name}:{}?transport=tcp", tls.port()));
    }
    let stun = udp.iter().take(MOST_URLS.saturating_sub(turn.len()));
    (stun.map(|place| format!("stun:{place}")).collect(), turn)
}

fn split(urls: &[String]) -> Result<(Vec<String>, Vec<String>), String> {
    if urls.is_empty() {
        return Err("is empty: write \"auto\" or a list of URLs".to_owned());
    }
    if let Some(url) = urls.iter().find(|url| !is_ice_url(url)) {
        return Err(format!(
            "holds \"{url}\": write URLs such as \"stun:host:3478\" or \"turn:host:3478?transport=udp\""
        ));
    }
    Ok(urls.iter().cloned().partition(|url| url.starts_with("stun")))
}

/// `stun:host[:port]` (RFC 7064 §3.1) or `turn:host[:port][?transport=udp|tcp]` (RFC 7065 §3.1), with or without TLS.
fn is_ice_url(url: &str) -> bool {
    let Some((scheme, rest)) = url.split_once(':') else { return false };
    let address = match scheme {
        "stun" | "stuns" => rest,
        "turn" | "turns" => match rest.split_once('?') {
            Some((address, "transport=udp" | "transport=tcp")) => address,
            Some(_) => return false,
            None => rest,
        },
        _ => return false,
    };
    authority::parse(address).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_follow_rfc_7064_and_7065() {
        for url in [
            "stun:a.org",
            "stuns:a.org:5349",
            "turn:198.18.0.1:3478",
            "turn:a.org?transport=udp",
            "turns:[2001:db8::1]:443?transport=tcp",
        ] {
            assert!(is_ice_url(url), "{url}");
        }
        for url in [
            "stun://a.org",
            "stun:a.org?transport=udp",
            "turn:a.org?transport=sctp",
            "turn:",
            "http://a.org",
            "turn",
        ] {
            assert!(!is_ice_url(url), "{url}");
        }
    }
}
