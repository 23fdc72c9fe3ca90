//! How the address that strangers reach this node by is learned: which ways there are, and which of them have to be asked
//! before the configuration can be resolved.

use std::{fmt, str::FromStr};

use toml::Spanned;

use crate::{ConfigError, Host, Request, document, load::text_of, resolve::authority};

/// Where STUN is served (RFC 8489 §18.6).
const STUN_PORT: u16 = 3478;

/// A way to learn the public address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Detect {
    /// A network interface has it.
    Interface,
    /// The metadata service of the cloud that this machine runs in.
    Metadata,
    /// What a STUN server sees.
    Stun {
        /// A name or an address.
        host: String,
        /// Its UDP port.
        port: u16,
    },
}

impl Detect {
    /// Whether somebody else is asked.
    pub fn asks_others(&self) -> bool {
        *self != Self::Interface
    }
}

impl fmt::Display for Detect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Interface => f.write_str("interface"),
            Self::Metadata => f.write_str("metadata"),
            Self::Stun { host, port } => write!(f, "stun:{host}:{port}"),
        }
    }
}

impl FromStr for Detect {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let refused = || {
            format!(
                "holds \"{text}\": write \"interface\", \"metadata\" or a STUN server such as \"stun:stun.example.org:3478\""
            )
        };
        match text {
            "interface" => Ok(Self::Interface),
            "metadata" => Ok(Self::Metadata),
            text => {
                let server = text.strip_prefix("stun:").ok_or_else(refused)?;
                let (host, port) = authority::parse(server).ok_or_else(refused)?;
                Ok(Self::Stun { host: host.to_owned(), port: port.unwrap_or(STUN_PORT) })
            }
        }
    }
}

/// The ways that have to be asked for the public IPv4 address before [`crate::load`]: those of `node.detect` that ask
/// others, where `node.public_ipv4` is "auto" and no interface has a public address. What is wrong with the rest of the
/// configuration is for `load` to tell.
///
/// # Errors
/// When the file cannot be read, or is no configuration.
pub fn ways_to_ask(request: &Request, host: &Host) -> Result<Vec<Detect>, ConfigError> {
    let text = text_of(request)?;
    let (_, raw, _) = document::read(request.file.clone(), &text, &host.environment)?;
    let is_auto = raw.node.public_ipv4.as_ref().is_none_or(|key| key.get_ref() == "auto");
    let ways = raw.node.detect.map(Spanned::into_inner).unwrap_or_default();
    let ways: Vec<Detect> = ways.iter().filter_map(|way| way.get_ref().parse().ok()).collect();
    let is_here =
        ways.contains(&Detect::Interface) && host.public_ipv4().is_some_and(|own| !own.is_private());
    match request.this_machine || !is_auto || is_here {
        true => Ok(Vec::new()),
        false => Ok(ways.into_iter().filter(Detect::asks_others).collect()),
    }
}
