//! A credential for a person, and the `iceServers` block that carries it.

use std::time::{Duration, SystemTime};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::Serialize;
use turnpike_config::{Config, Ice, IcePolicy};
use turnpike_relay_api::credential::{Credential, Limits, MAX_SUBJECT_LEN, MintError, mint};

/// Characters of a credential's id: 128 bits in base64url.
const ID_LEN: usize = 22;
/// Longest label, so that label, dot and id make a subject.
pub(crate) const MAX_LABEL_LEN: usize = MAX_SUBJECT_LEN - ID_LEN - 1;

/// Mints under the first secret. The subject is the label and a random id: two of one second differ.
///
/// # Errors
/// [`MintError`] when the label does not fit in a subject.
pub(crate) fn mint_for(config: &Config, label: &str, ttl: Duration) -> Result<Credential, MintError> {
    let mut id = [0; 16];
    getrandom::fill(&mut id).expect("the kernel gives random bytes");
    let subject = format!("{label}.{}", URL_SAFE_NO_PAD.encode(id));
    let now = SystemTime::UNIX_EPOCH.elapsed().expect("the clock is past 1970");
    let secret = config.auth.secrets.first().expect("a loaded configuration has a secret");
    mint(secret.expose(), now.as_secs().saturating_add(ttl.as_secs()), &subject, &Limits::default())
}

/// What `new RTCPeerConnection(...)` takes.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct PeerConfiguration<'a> {
    ice_servers: Vec<IceServer<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ice_transport_policy: Option<&'static str>,
}

#[derive(Debug, Serialize)]
#[serde(untagged)]
enum IceServer<'a> {
    Stun { urls: &'a [String] },
    Turn { urls: &'a [String], username: &'a str, credential: &'a str },
}

impl<'a> PeerConfiguration<'a> {
    /// The node's URLs, those of the relay with the credential.
    pub(crate) fn new(ice: &'a Ice, credential: &'a Credential) -> Self {
        let Credential { username, password, .. } = credential;
        let mut ice_servers = Vec::new();
        if !ice.stun_urls.is_empty() {
            ice_servers.push(IceServer::Stun { urls: &ice.stun_urls });
        }
        if !ice.turn_urls.is_empty() {
            ice_servers.push(IceServer::Turn { urls: &ice.turn_urls, username, credential: password });
        }
        let ice_transport_policy = (ice.policy == IcePolicy::Relay).then_some("relay");
        Self { ice_servers, ice_transport_policy }
    }

    /// As JSON over several lines.
    ///
    /// # Errors
    /// Those of the JSON writer.
    pub(crate) fn to_json(&self) -> serde_json::Result<String> {
        serde_json::to_string_pretty(self)
    }
}
