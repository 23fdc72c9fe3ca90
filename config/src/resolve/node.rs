use std::{
    net::{IpAddr, Ipv4Addr},
    ops::Range,
    path::PathBuf,
};

use super::{Purpose, authority::is_dns_name};
use crate::{
    Detect, Host, Learned, Node, Note, PublicAddress,
    check::{Checker, ipv4, ipv6, unless_empty},
    raw::{self, Key},
};

const MAX_NAME_LEN: usize = 64;

/// The node, and what its operator should know about its addresses.
pub(super) fn resolve(
    c: &mut Checker<'_>,
    raw: raw::Node,
    host: &Host,
    purpose: Purpose<'_>,
) -> (Node, Vec<Note>) {
    let allow_private = c.flag(raw.allow_private_address, false);
    let name = c.take("node.name", raw.name, None, unless_empty(name));
    let domain = c.take("node.domain", raw.domain, None, unless_empty(domain));
    let interface = vec![Detect::Interface];
    let detect = c.take_filled_list("node.detect", raw.detect, interface, str::parse);
    let spans = [&raw.public_ipv4, &raw.public_ipv6].map(|raw| raw.as_ref().map(toml::Spanned::span));
    let (public_ipv4, public_ipv6) = match purpose.this_machine {
        true => (Some(loopback()), None),
        false => addresses(c, raw.public_ipv4, raw.public_ipv6, host),
    };
    let mut notes = Vec::new();
    if !purpose.this_machine && !allow_private {
        let keys = ["node.public_ipv4", "node.public_ipv6"];
        for ((key, span), address) in keys.iter().zip(spans).zip([&public_ipv4, &public_ipv6]) {
            if let Some(address) = address.as_ref().filter(|address| address.is_private()) {
                if purpose.file.is_some() {
                    c.refuse(key, span.as_ref(), &private_refusal(address));
                }
                notes.push(Note::PrivateAddress(address.clone()));
            }
        }
    }
    let default_state = match (purpose.file, &host.data_home) {
        (Some(_), _) => Some(PathBuf::from("/var/lib/turnpike")),
        (None, data_home) => data_home.as_ref().map(|home| home.join("turnpike")),
    };
    let state_dir =
        c.take("node.state_dir", raw.state_dir, default_state, |text| purpose.path(&text).map(Some));
    if state_dir.is_none() {
        let refusal = "has no default, for neither HOME nor XDG_DATA_HOME is set: \
                       set TURNPIKE_NODE__STATE_DIR, or write a config file";
        c.refuse("node.state_dir", None, refusal);
    }
    let name = name.unwrap_or_else(|| host.name.clone());
    let state_dir = state_dir.unwrap_or_default();
    (Node { name, domain, public_ipv4, public_ipv6, detect, state_dir }, notes)
}

/// The address of each family. A machine that has none at all has loopback.
fn addresses(
    c: &mut Checker<'_>,
    ipv4_key: Key<String>,
    ipv6_key: Key<String>,
    host: &Host,
) -> (Option<PublicAddress>, Option<PublicAddress>) {
    let span: Option<Range<usize>> = ipv4_key.as_ref().map(toml::Spanned::span);
    let no_ipv4 = ipv4_key.as_ref().is_some_and(|key| key.get_ref() == "none");
    let public_ipv6 = c.take("node.public_ipv6", ipv6_key, host.public_ipv6(), |text| {
        public_address(&text, host.public_ipv6(), |text| ipv6(text).map(IpAddr::V6))
    });
    let fallback = || Some(loopback()).filter(|_| public_ipv6.is_none());
    let found = host.public_ipv4().or_else(fallback);
    let public_ipv4 = c.take("node.public_ipv4", ipv4_key, found.clone(), |text| {
        public_address(&text, found, |text| ipv4(text).map(IpAddr::V4))
    });
    if no_ipv4 && public_ipv6.is_none() {
        let refusal = "is \"none\", and this node has no public IPv6 address either: write one of the two";
        c.refuse("node.public_ipv4", span.as_ref(), refusal);
    }
    (public_ipv4, public_ipv6)
}

fn public_address(
    text: &str,
    found: Option<PublicAddress>,
    read: impl Fn(&str) -> Result<IpAddr, String>,
) -> Result<Option<PublicAddress>, String> {
    let address = match text {
        "auto" => return Ok(found),
        "none" => return Ok(None),
        text => read(text).map_err(|refusal| format!("{refusal}, \"auto\" or \"none\""))?,
    };
    if address.is_unspecified() || address.is_multicast() || address == IpAddr::V4(Ipv4Addr::BROADCAST) {
        return Err(format!(
            "is {text}, which no client can reach: write the address they reach this node by"
        ));
    }
    Ok(Some(PublicAddress { address, learned: Learned::Configured }))
}

fn loopback() -> PublicAddress {
    PublicAddress { address: Ipv4Addr::LOCALHOST.into(), learned: Learned::Loopback }
}

fn private_refusal(address: &PublicAddress) -> String {
    let (key, other) = match address.address {
        IpAddr::V4(_) => ("relay.relay_ipv4", "IPv6"),
        IpAddr::V6(_) => ("relay.relay_ipv6", "IPv4"),
    };
    format!(
        "is {address}, a private address that strangers cannot reach: write the public one (behind 1:1 NAT together with \
         `{key}`), write \"none\" to relay over {other} alone, or set `node.allow_private_address = true` for a LAN or \
         a lab"
    )
}

fn name(text: &str) -> Result<String, String> {
    match text.len() <= MAX_NAME_LEN && text.chars().all(|c| c.is_ascii_graphic()) {
        true => Ok(text.to_owned()),
        false => Err(format!("is no name: write at most {MAX_NAME_LEN} ASCII characters without spaces")),
    }
}

fn domain(text: &str) -> Result<String, String> {
    match is_dns_name(text) {
        true => Ok(text.to_ascii_lowercase()),
        false => Err(format!(
            "is \"{text}\": write a DNS name, such as \"turn.example.org\", without scheme or port"
        )),
    }
}
