use std::{net::Ipv4Addr, path::PathBuf};

use super::{Purpose, authority::is_dns_name};
use crate::{
    Host, Learned, Node, Note, PublicAddress,
    check::{Checker, ipv4, unless_empty},
    raw,
};

const MAX_NAME_LEN: usize = 64;

/// The node, and what its operator should know about its address.
pub(super) fn resolve(
    c: &mut Checker<'_>,
    raw: raw::Node,
    host: &Host,
    purpose: Purpose<'_>,
) -> (Node, Option<Note>) {
    let address_span = raw.public_ipv4.as_ref().map(toml::Spanned::span);
    let allow_private = c.flag(raw.allow_private_address, false);
    let name = c.take("node.name", raw.name, None, unless_empty(name));
    let domain = c.take("node.domain", raw.domain, None, unless_empty(domain));
    let public_ipv4 = match purpose.this_machine {
        true => PublicAddress { address: Ipv4Addr::LOCALHOST, learned: Learned::Loopback },
        false => {
            c.take("node.public_ipv4", raw.public_ipv4, host.public_ipv4(), |text| public_ipv4(&text, host))
        }
    };
    let private = public_ipv4.is_private() && !purpose.this_machine && !allow_private;
    if private && purpose.file.is_some() {
        c.refuse("node.public_ipv4", address_span.as_ref(), &private_refusal(&public_ipv4));
    }
    let note = private.then(|| Note::PrivateAddress(public_ipv4.clone()));
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
    (Node { name, domain, public_ipv4, state_dir: state_dir.unwrap_or_default() }, note)
}

fn public_ipv4(text: &str, host: &Host) -> Result<PublicAddress, String> {
    if text == "auto" {
        return Ok(host.public_ipv4());
    }
    let address = ipv4(text).map_err(|refusal| format!("{refusal}, or \"auto\""))?;
    if address.is_unspecified() || address.is_multicast() || address.is_broadcast() {
        return Err(format!(
            "is {text}, which no client can reach: write the address they reach this node by"
        ));
    }
    Ok(PublicAddress { address, learned: Learned::Configured })
}

fn private_refusal(address: &PublicAddress) -> String {
    format!(
        "is {address}, a private address that strangers cannot reach: write the public one \
         (behind 1:1 NAT together with `relay.relay_ipv4`), or set `node.allow_private_address = true` for a LAN or a lab"
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
