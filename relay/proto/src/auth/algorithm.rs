//! Password algorithms (RFC 8489 §9.2.2, §18.5) and the bid-down check.

use sha2::{Digest as _, Sha256};
use stun::integrity::MessageIntegrity;

use crate::wire::Request;

/// How a password becomes a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Algorithm {
    Sha256,
    Md5,
}

/// What is kept instead of a password: a hash of `username:realm:password`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Key {
    Sha256([u8; 32]),
    Md5([u8; 16]),
}

/// The list came back altered, or the choice is not in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Tampered;

impl Algorithm {
    /// The most preferred first.
    pub(super) const OFFERED: [Self; 2] = [Self::Sha256, Self::Md5];

    /// The value of PASSWORD-ALGORITHMS.
    pub(super) fn list() -> [u8; 8] {
        let [a, b] = Self::OFFERED.map(Self::wire);
        [a[0], a[1], a[2], a[3], b[0], b[1], b[2], b[3]]
    }

    /// The client's choice, and whether it named one: MD5 where it says nothing, refused where only one of the two
    /// attributes is there or the list is not ours (RFC 8489 §9.2.4).
    pub(super) fn chosen(request: &Request<'_>) -> Result<(Self, bool), Tampered> {
        match (request.password_algorithm(), request.password_algorithms()) {
            (None, None) => Ok((Self::Md5, false)),
            (Some(choice), Some(list)) if list == Self::list() => {
                let found = Self::OFFERED.into_iter().find(|algorithm| algorithm.wire() == choice);
                found.map(|algorithm| (algorithm, true)).ok_or(Tampered)
            }
            _ => Err(Tampered),
        }
    }

    pub(super) fn key(self, username: &str, realm: &str, password: &str) -> Key {
        match self {
            Self::Md5 => {
                let key =
                    MessageIntegrity::new_long_term_integrity(username.into(), realm.into(), password.into());
                Key::Md5(key.0.try_into().expect("MD5 gives 16 bytes"))
            }
            Self::Sha256 => {
                let mut hash = Sha256::new();
                for part in [username, ":", realm, ":", password] {
                    hash.update(part);
                }
                Key::Sha256(hash.finalize().into())
            }
        }
    }

    /// Number and length of its parameters, of which it has none.
    fn wire(self) -> [u8; 4] {
        match self {
            Self::Md5 => [0, 1, 0, 0],
            Self::Sha256 => [0, 2, 0, 0],
        }
    }
}

impl Key {
    pub(super) fn algorithm(&self) -> Algorithm {
        match self {
            Self::Sha256(_) => Algorithm::Sha256,
            Self::Md5(_) => Algorithm::Md5,
        }
    }

    pub(super) fn bytes(&self) -> &[u8] {
        match self {
            Self::Sha256(key) => key,
            Self::Md5(key) => key,
        }
    }
}
