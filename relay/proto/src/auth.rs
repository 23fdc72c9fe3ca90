//! The long-term credential mechanism (RFC 8489 §9.2) with TURN REST names.

mod algorithm;
mod nonce;

use std::{collections::HashMap, net::SocketAddr};

use turnpike_relay_api::credential::{self, Username};
use zeroize::Zeroizing;

use algorithm::{Algorithm, Key};
pub(crate) use nonce::Nonces;

use crate::{
    AuthFailure, Now,
    wire::{Mac, Request, Response},
};

/// Who sent a request, and how it was signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct User {
    pub(crate) username: Box<str>,
    key: Key,
    /// The MAC of answers.
    mac: Mac,
}

impl User {
    /// Signs an answer the way this user's request was.
    pub(crate) fn sign(&self, response: Response) -> Vec<u8> {
        response.signed(self.mac, self.key.bytes())
    }
}

/// Why a request is not let in, and so how it is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// No MESSAGE-INTEGRITY: 401 with REALM and NONCE, the usual first answer.
    Challenge,
    /// Something is missing beside the MAC, or the password algorithms were tampered with: 400 alone.
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
    static_users: HashMap<String, [Key; 2]>,
    nonces: Nonces,
}

impl Authenticator {
    pub(crate) fn new(
        realm: String,
        secrets: Vec<Zeroizing<Vec<u8>>>,
        static_users: Vec<(String, Zeroizing<String>)>,
        nonces: Nonces,
    ) -> Self {
        let mut authenticator = Self { realm, secrets, static_users: HashMap::new(), nonces };
        authenticator.know(static_users);
        authenticator
    }

    /// Takes other secrets and static users; nonces that were given stay good.
    pub(crate) fn replace(
        &mut self,
        secrets: Vec<Zeroizing<Vec<u8>>>,
        static_users: Vec<(String, Zeroizing<String>)>,
    ) {
        self.secrets = secrets;
        self.know(static_users);
    }

    /// Of a password only the keys are kept (RFC 8656 §6).
    fn know(&mut self, static_users: Vec<(String, Zeroizing<String>)>) {
        let keys = |name: &str, password: &str| {
            Algorithm::OFFERED.map(|algorithm| algorithm.key(name, &self.realm, password))
        };
        self.static_users = static_users
            .into_iter()
            .map(|(name, password)| {
                let keys = keys(&name, &password);
                (name, keys)
            })
            .collect();
    }

    /// Adds what a client needs to try again: REALM, NONCE, PASSWORD-ALGORITHMS.
    pub(crate) fn challenge(&self, now: Now, client: SocketAddr, error: Response) -> Response {
        error
            .realm(&self.realm)
            .nonce(&self.nonces.issue(now.unix, client))
            .password_algorithms(&Algorithm::list())
    }

    /// Checks a request in the order of RFC 8489 §9.2.4. A stale nonce is told only to who knows the password.
    ///
    /// `known` is the user of the allocation on this five-tuple: its key serves without a look at the secrets, and its
    /// credential's expiry no longer matters.
    pub(crate) fn authenticate(
        &self,
        now: Now,
        client: SocketAddr,
        request: &mut Request<'_>,
        known: Option<&User>,
    ) -> Result<User, Refusal> {
        let Some(mac) = request.mac() else { return Err(Refusal::Challenge) };
        let (Some(username), Some(realm), Some(nonce)) =
            (request.username(), request.realm(), request.nonce())
        else {
            return Err(Refusal::Incomplete);
        };
        let Ok((algorithm, named)) = Algorithm::chosen(request) else { return Err(Refusal::Incomplete) };
        if realm != self.realm.as_bytes() {
            return Err(Refusal::Unauthorized(AuthFailure::Realm));
        }
        let fresh = self.nonces.verify(now.unix, client, nonce);
        let username: Box<str> = match std::str::from_utf8(username) {
            Ok(name) => name.into(),
            Err(_) => return Err(Refusal::Unauthorized(AuthFailure::UnknownUser)),
        };
        let keys = match known.filter(|user| user.username == username && user.key.algorithm() == algorithm) {
            Some(user) => vec![user.key],
            None => self.keys(&username, algorithm),
        };
        if keys.is_empty() {
            return Err(Refusal::Unauthorized(AuthFailure::UnknownUser));
        }
        let Some(key) = keys.into_iter().find(|key| request.verify(key.bytes())) else {
            return Err(Refusal::Unauthorized(AuthFailure::Integrity));
        };
        match fresh {
            true => Ok(User { username, key, mac: if named { Mac::Sha256 } else { mac } }),
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

    fn keys(&self, username: &str, algorithm: Algorithm) -> Vec<Key> {
        if let Some(keys) = self.static_users.get(username) {
            return keys.iter().copied().filter(|key| key.algorithm() == algorithm).collect();
        }
        if Username::parse(username).is_none() {
            return Vec::new();
        }
        let passwords = self.secrets.iter().map(|secret| credential::password(secret, username));
        passwords.map(|password| algorithm.key(username, &self.realm, &password)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWORD: &str = "correct horse battery staple";
    const SECRET: &str = "a secret of thirty-two bytes or so";

    #[test]
    fn rule_96_nothing_that_is_kept_holds_a_password() {
        let users = vec![("alice".into(), Zeroizing::new(PASSWORD.into()))];
        let secrets = vec![Zeroizing::new(SECRET.into())];
        let authenticator = Authenticator::new("r".into(), secrets, users, Nonces::new([1; 32]));
        let username = format!("{}:bob", u64::MAX);
        let password = credential::password(SECRET.as_bytes(), &username);
        for algorithm in Algorithm::OFFERED {
            let [alice, bob] = [("alice", PASSWORD), (&username, &password)].map(|(name, password)| {
                let [key] = authenticator.keys(name, algorithm)[..] else { panic!("one secret, one user") };
                assert_eq!(key, algorithm.key(name, "r", password));
                let shows = |part: &[u8]| password.as_bytes().windows(part.len()).any(|of_it| of_it == part);
                assert!(!key.bytes().windows(4).any(shows), "{key:?}");
                key
            });
            assert_ne!(alice, bob);
        }
        // Whoever adds a field decides here whether it keeps a password.
        let Authenticator { realm: _, secrets: _, static_users, nonces: _ } = authenticator;
        let [key, _]: [Key; 2] = static_users["alice"];
        let User { username: _, key: _, mac: _ } = User { username: "alice".into(), key, mac: Mac::Sha1 };
    }
}
