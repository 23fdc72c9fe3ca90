//! The long-term credential mechanism (RFC 8489 §9.2) with TURN REST names.

mod nonce;

use std::{collections::HashMap, net::SocketAddr};

use stun::integrity::MessageIntegrity;
use turnpike_relay_api::credential::{self, Username};
use zeroize::Zeroizing;

pub(crate) use nonce::Nonces;

use crate::{AuthFailure, Now, wire::Request};

/// MD5(username ":" realm ":" password): what is kept instead of a password (RFC 8489 §9.2.2).
pub(crate) type Key = [u8; 16];

/// Who sent a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct User {
    pub(crate) username: Box<str>,
    pub(crate) key: Key,
}

/// Why a request is not let in, and so how it is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// No MESSAGE-INTEGRITY: 401 with REALM and NONCE, the usual first answer.
    Challenge,
    /// 400 alone.
    Incomplete,
    /// 401 with REALM and NONCE.
    Unauthorized(AuthFailure),
    /// 438 with REALM and NONCE.
    StaleNonce,
}

/// Knows the secrets and the realm.
#[derive(Clone)]
pub(crate) struct Authenticator {
    realm: String,
    secrets: Vec<Zeroizing<Vec<u8>>>,
    static_users: HashMap<String, Key>,
    nonces: Nonces,
}

impl Authenticator {
    pub(crate) fn new(
        realm: String,
        secrets: Vec<Zeroizing<Vec<u8>>>,
        static_users: Vec<(String, Zeroizing<String>)>,
        nonces: Nonces,
    ) -> Self {
        let static_users = static_users
            .into_iter()
            .map(|(name, password)| {
                let key = long_term_key(&name, &realm, &password);
                (name, key)
            })
            .collect();
        Self { realm, secrets, static_users, nonces }
    }

    pub(crate) fn realm(&self) -> &str {
        &self.realm
    }

    pub(crate) fn nonce(&self, now: Now, client: SocketAddr) -> String {
        self.nonces.issue(now.unix, client)
    }

    /// Checks a request in the order of RFC 8489 §9.2.4. A stale nonce is told only to who knows the password.
    ///
    /// `known` is the user of the allocation on this five-tuple: its key serves without a look at the secrets, and its
    /// credential's expiry no longer matters.
    pub(crate) fn authenticate(
        &self,
        now: Now,
        client: SocketAddr,
        request: &mut Request,
        known: Option<&User>,
    ) -> Result<User, Refusal> {
        if !request.is_signed() {
            return Err(Refusal::Challenge);
        }
        let (Some(username), Some(realm), Some(nonce)) =
            (request.username(), request.realm(), request.nonce())
        else {
            return Err(Refusal::Incomplete);
        };
        if realm != self.realm.as_bytes() {
            return Err(Refusal::Unauthorized(AuthFailure::Realm));
        }
        let fresh = self.nonces.verify(now.unix, client, nonce);
        let username: Box<str> = match std::str::from_utf8(username) {
            Ok(name) => name.into(),
            Err(_) => return Err(Refusal::Unauthorized(AuthFailure::UnknownUser)),
        };
        let keys = match known.filter(|user| user.username == username) {
            Some(user) => vec![user.key],
            None => self.keys(&username),
        };
        if keys.is_empty() {
            return Err(Refusal::Unauthorized(AuthFailure::UnknownUser));
        }
        let Some(key) = keys.into_iter().find(|key| request.verify(key)) else {
            return Err(Refusal::Unauthorized(AuthFailure::Integrity));
        };
        match fresh {
            true => Ok(User { username, key }),
            false => Err(Refusal::StaleNonce),
        }
    }

    /// Whether a new allocation may still be made with this name: expiry is checked here and nowhere else.
    pub(crate) fn is_expired(&self, now: Now, username: &str) -> bool {
        !self.is_static(username) && Username::parse(username).is_none_or(|name| name.expires_at <= now.unix)
    }

    pub(crate) fn is_static(&self, username: &str) -> bool {
        self.static_users.contains_key(username)
    }

    fn keys(&self, username: &str) -> Vec<Key> {
        if let Some(key) = self.static_users.get(username) {
            return vec![*key];
        }
        if Username::parse(username).is_none() {
            return Vec::new();
        }
        let passwords = self.secrets.iter().map(|secret| credential::password(secret, username));
        passwords.map(|password| long_term_key(username, &self.realm, &password)).collect()
    }
}

fn long_term_key(username: &str, realm: &str, password: &str) -> Key {
    let key = MessageIntegrity::new_long_term_integrity(username.into(), realm.into(), password.into());
    key.0.try_into().expect("MD5 gives 16 bytes")
}
