//! TURN REST credentials: `expiry:subject[:limits]` and its HMAC-SHA1 (draft-uberti-behave-turn-rest-00 §2.2).
//!
//! The relay takes any bytes after the first colon, and a bare timestamp too: other minters write
//! `expiry:@user:host` or a bare expiry. The grammar here binds only what Turnpike mints.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha1::Sha1;
use zeroize::Zeroizing;

/// Longest subject that is minted, in bytes.
pub const MAX_SUBJECT_LEN: usize = 64;

/// A minted username and its password.
#[derive(Clone)]
pub struct Credential {
    /// `expiry:subject[:limits]`.
    pub username: String,
    /// Base64 HMAC-SHA1 of the username.
    pub password: Zeroizing<String>,
    /// Unix time in seconds after which Allocate is refused.
    pub expires_at: u64,
}

/// Why a subject or its limits cannot be minted.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum MintError {
    /// Empty, too long, or outside `[A-Za-z0-9._-]`.
    #[error("a subject is 1 to {MAX_SUBJECT_LEN} characters of A-Z a-z 0-9 . _ -")]
    Subject,
}

/// Limits signed into a username: the relay knows them without asking anyone.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Most live allocations (`a4`).
    pub allocations: Option<u32>,
    /// Most relayed bytes (`b500000000`).
    pub bytes: Option<u64>,
    /// Most bits a second (`r2000000`).
    pub bits_per_second: Option<u64>,
}

impl Limits {
    /// Whether nothing is limited.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    fn parse(text: &str) -> Option<Self> {
        let mut limits = Self::default();
        for part in text.split('.') {
            let (kind, value) = part.split_at_checked(1)?;
            if !value.bytes().all(|b| b.is_ascii_digit()) {
                return None;
            }
            match kind {
                "a" if limits.allocations.is_none() => limits.allocations = Some(value.parse().ok()?),
                "b" if limits.bytes.is_none() => limits.bytes = Some(value.parse().ok()?),
                "r" if limits.bits_per_second.is_none() => {
                    limits.bits_per_second = Some(value.parse().ok()?);
                }
                _ => return None,
            }
        }
        Some(limits)
    }
}

impl std::fmt::Display for Limits {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let parts = [
            self.allocations.map(|n| format!("a{n}")),
            self.bytes.map(|n| format!("b{n}")),
            self.bits_per_second.map(|n| format!("r{n}")),
        ];
        f.write_str(&parts.into_iter().flatten().collect::<Vec<_>>().join("."))
    }
}

/// A username taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Username<'a> {
    /// Unix time in seconds.
    pub expires_at: u64,
    /// Everything between the first colon and the limits; empty for a bare timestamp.
    pub subject: &'a str,
    /// The limits signed into the name.
    pub limits: Limits,
}

impl<'a> Username<'a> {
    /// Takes a username apart. `None` when it does not start with a decimal timestamp.
    ///
    /// Limits are read only from a last part that is wholly in their grammar: `1700000000:@user:host` has none,
    /// and its subject is `@user:host`.
    pub fn parse(username: &'a str) -> Option<Self> {
        let (expiry, rest) = username.split_once(':').unwrap_or((username, ""));
        if expiry.is_empty() || !expiry.bytes().all(|b| b.is_ascii_digit()) {
            return None;
        }
        let expires_at = expiry.parse().ok()?;
        let limited = rest.rsplit_once(':').and_then(|(subject, l)| Some((subject, Limits::parse(l)?)));
        let (subject, limits) = limited.unwrap_or((rest, Limits::default()));
        Some(Self { expires_at, subject, limits })
    }
}

/// The password of a username under one secret: base64(HMAC-SHA1(secret, username)).
pub fn password(secret: &[u8], username: &str) -> Zeroizing<String> {
    let mut mac = Hmac::<Sha1>::new_from_slice(secret).expect("HMAC takes a key of any length");
    mac.update(username.as_bytes());
    Zeroizing::new(STANDARD.encode(mac.finalize().into_bytes()))
}

/// Mints a credential that Allocate accepts until `expires_at` (Unix seconds).
///
/// # Errors
/// [`MintError::Subject`] when the subject is outside the grammar of minted subjects.
pub fn mint(secret: &[u8], expires_at: u64, subject: &str, limits: &Limits) -> Result<Credential, MintError> {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
    if subject.is_empty() || subject.len() > MAX_SUBJECT_LEN || !subject.bytes().all(allowed) {
        return Err(MintError::Subject);
    }
    let username = match limits.is_empty() {
        true => format!("{expires_at}:{subject}"),
        false => format!("{expires_at}:{subject}:{limits}"),
    };
    Ok(Credential { password: password(secret, &username), username, expires_at })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_published_vector_is_minted() {
        let minted = mint(b"turnpike-test-secret", 1_700_000_000, "alice", &Limits::default()).unwrap();
        assert_eq!(minted.username, "1700000000:alice");
        assert_eq!(*minted.password, "dYUl6gTWdDthNtBkzZoEBspXCHA=");
    }

    #[test]
    fn what_is_minted_is_read_back() {
        let limits =
            Limits { allocations: Some(4), bytes: Some(500_000_000), bits_per_second: Some(2_000_000) };
        let minted = mint(b"s", 42, "tenant.alice.cred", &limits).unwrap();
        assert_eq!(minted.username, "42:tenant.alice.cred:a4.b500000000.r2000000");
        let read = Username::parse(&minted.username).unwrap();
        assert_eq!(read, Username { expires_at: 42, subject: "tenant.alice.cred", limits });
    }

    #[test]
    fn names_of_other_minters_are_read() {
        let cases = [
            ("1700000000", 1_700_000_000, "", Limits::default()),
            ("1700000000:@user:example.org", 1_700_000_000, "@user:example.org", Limits::default()),
            ("7:x:a1", 7, "x", Limits { allocations: Some(1), ..Limits::default() }),
            ("7:a1", 7, "a1", Limits::default()),
            ("7:x:a1.a2", 7, "x:a1.a2", Limits::default()),
            ("7:x:", 7, "x:", Limits::default()),
            ("7:x:b", 7, "x:b", Limits::default()),
            ("7:x:r18446744073709551616", 7, "x:r18446744073709551616", Limits::default()),
        ];
        for (name, expires_at, subject, limits) in cases {
            assert_eq!(Username::parse(name), Some(Username { expires_at, subject, limits }), "{name}");
        }
        for name in ["", ":", ":alice", "alice", "+5:x", "-5:x", "99999999999999999999999:x", "1 :x"] {
            assert_eq!(Username::parse(name), None, "{name}");
        }
    }

    #[test]
    fn subjects_outside_the_grammar_are_refused() {
        let long = "x".repeat(65);
        for subject in ["", "a:b", "a b", "ä", long.as_str()] {
            assert_eq!(
                mint(b"s", 1, subject, &Limits::default()).err(),
                Some(MintError::Subject),
                "{subject}"
            );
        }
    }
}
