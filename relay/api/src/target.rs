//! Who is meant when an allocation is to end or a credential is to be refused.

use serde::{Deserialize, Serialize};

/// What the last parts of a minted subject look like: 9 random bytes of a credential, 16 of a pair, in base64url.
const CREDENTIAL_ID_LEN: usize = 12;
const PAIR_ID_LEN: usize = 22;
/// Longest name that a target may have, in bytes: longer than any USERNAME of STUN (RFC 8489 §14.3).
const MAX_NAME_LEN: usize = 763;

/// One or many allocations: by their own id, or by the subject of their credential.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "Fields", into = "Fields")]
pub enum Target {
    /// The allocation of this id.
    Allocation(String),
    /// Everything of this subject: `alice` is also `alice.CREDENTIAL`, and a session's `SESSION.PAIR.CREDENTIAL`.
    Subject(String),
    /// Both sides of this pair of signaling: subjects that end in `.PAIR.CREDENTIAL`.
    Pair(String),
    /// One credential: subjects that end in `.CREDENTIAL`, the `credentialId` of `POST /v1/ice`.
    Credential(String),
}

/// The target is not one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("name exactly one of allocation, subject, pair, credential, with 1 to {MAX_NAME_LEN} bytes")]
pub struct NoTarget;

impl Target {
    /// The names of credentials under which this subject can be meant.
    pub fn all_of(subject: &str) -> impl Iterator<Item = Self> + '_ {
        let mut parts = subject.rsplit('.');
        let (last, before) = (parts.next().unwrap_or(subject), parts.next());
        let pair = before.filter(|part| is_id(last, CREDENTIAL_ID_LEN) && is_id(part, PAIR_ID_LEN));
        let mut owner = Some(subject);
        let owners = std::iter::from_fn(move || {
            let current = owner?;
            let shorter = current
                .rsplit_once('.')
                .filter(|(_, tail)| is_id(tail, CREDENTIAL_ID_LEN) || is_id(tail, PAIR_ID_LEN));
            owner = shorter.map(|(shorter, _)| shorter);
            Some(Self::Subject(current.to_owned()))
        });
        let pair = pair.map(|pair| Self::Pair(pair.to_owned()));
        owners.chain(pair).chain([Self::Credential(last.to_owned())])
    }

    /// Whether an allocation is meant.
    pub fn covers(&self, id: &str, subject: &str) -> bool {
        match self {
            Self::Allocation(name) => name == id,
            other => Self::all_of(subject).any(|target| target == *other),
        }
    }

    /// What else than its id names the credential of an allocation best: its credential's id if its subject ends in
    /// one, else its subject.
    pub fn credential_of(subject: &str) -> Self {
        match subject.rsplit_once('.') {
            Some((_, last)) if is_id(last, CREDENTIAL_ID_LEN) => Self::Credential(last.to_owned()),
            _ => Self::Subject(subject.to_owned()),
        }
    }

    /// `allocation`, `subject`, `pair` or `credential`.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Allocation(_) => "allocation",
            Self::Subject(_) => "subject",
            Self::Pair(_) => "pair",
            Self::Credential(_) => "credential",
        }
    }

    /// The name by itself.
    pub fn name(&self) -> &str {
        match self {
            Self::Allocation(name) | Self::Subject(name) | Self::Pair(name) | Self::Credential(name) => name,
        }
    }
}

/// A target as it is written.
#[derive(Default, Serialize, Deserialize)]
#[serde(default)]
struct Fields {
    #[serde(skip_serializing_if = "Option::is_none")]
    allocation: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    subject: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pair: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    credential: Option<String>,
}

impl TryFrom<Fields> for Target {
    type Error = NoTarget;

    fn try_from(fields: Fields) -> Result<Self, NoTarget> {
        let named = [
            fields.allocation.map(Self::Allocation),
            fields.subject.map(Self::Subject),
            fields.pair.map(Self::Pair),
            fields.credential.map(Self::Credential),
        ];
        let mut named = named.into_iter().flatten();
        match (named.next(), named.next()) {
            (Some(target), None) if (1..=MAX_NAME_LEN).contains(&target.name().len()) => Ok(target),
            _ => Err(NoTarget),
        }
    }
}

impl From<Target> for Fields {
    fn from(target: Target) -> Self {
        let none = Self::default();
        match target {
            Target::Allocation(name) => Self { allocation: Some(name), ..none },
            Target::Subject(name) => Self { subject: Some(name), ..none },
            Target::Pair(name) => Self { pair: Some(name), ..none },
            Target::Credential(name) => Self { credential: Some(name), ..none },
        }
    }
}

fn is_id(text: &str, len: usize) -> bool {
    text.len() == len && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SESSION: &str = "AAAAAAAAAAAAAAAAAAAAAA";
    const PAIR: &str = "BBBBBBBBBBBBBBBBBBBBBB";
    const CREDENTIAL: &str = "CCCCCCCCCCCC";

    fn covers(target: &Target, subject: &str) -> bool {
        target.covers("id", subject)
    }

    #[test]
    fn a_side_of_a_pair_is_meant_by_its_session_pair_and_credential() {
        let subject = format!("{SESSION}.{PAIR}.{CREDENTIAL}");
        for target in [
            Target::Allocation("id".into()),
            Target::Subject(subject.clone()),
            Target::Subject(format!("{SESSION}.{PAIR}")),
            Target::Subject(SESSION.into()),
            Target::Pair(PAIR.into()),
            Target::Credential(CREDENTIAL.into()),
        ] {
            assert!(covers(&target, &subject), "{target:?}");
        }
        for target in [
            Target::Allocation("another".into()),
            Target::Subject(PAIR.into()),
            Target::Subject(CREDENTIAL.into()),
            Target::Pair(SESSION.into()),
            Target::Pair(CREDENTIAL.into()),
            Target::Credential(PAIR.into()),
        ] {
            assert!(!covers(&target, &subject), "{target:?}");
        }
    }

    #[test]
    fn a_subject_is_not_meant_by_the_beginning_of_its_name() {
        let alice = Target::Subject("alice".into());
        for subject in ["alice", "alice.CCCCCCCCCCCC"] {
            assert!(covers(&alice, subject), "{subject}");
        }
        for subject in ["alice.smith", "alice2", "alice.", "alice.smith.CCCCCCCCCCCC", "@alice:host", ""] {
            assert!(!covers(&alice, subject), "{subject}");
        }
        assert!(covers(&Target::Subject("alice.smith".into()), "alice.smith.CCCCCCCCCCCC"));
        assert!(covers(&Target::Subject("@alice.b:example.org".into()), "@alice.b:example.org"));
    }

    #[test]
    fn the_best_name_of_a_credential_is_its_id() {
        let of = Target::credential_of;
        assert_eq!(of("alice.CCCCCCCCCCCC"), Target::Credential(CREDENTIAL.into()));
        assert_eq!(of(CREDENTIAL), Target::Subject(CREDENTIAL.into()));
        assert_eq!(of("@alice.b:example.org"), Target::Subject("@alice.b:example.org".into()));
    }

    #[test]
    fn exactly_one_name_is_read_and_written() {
        let read = |text: &str| serde_json::from_str::<Target>(text);
        assert_eq!(read(r#"{"pair": "x", "later": 1}"#).unwrap(), Target::Pair("x".into()));
        let long = format!(r#"{{"subject": "{}"}}"#, "x".repeat(764));
        for text in ["{}", r#"{"pair": "x", "subject": "y"}"#, r#"{"pair": ""}"#, r#"{"pear": "x"}"#, &long] {
            let error = read(text).unwrap_err().to_string();
            assert!(error.starts_with("name exactly one of allocation, subject"), "{text}: {error}");
        }
        for target in
            [Target::Allocation("a".into()), Target::Subject("b".into()), Target::Credential("c".into())]
        {
            let text = serde_json::to_string(&target).unwrap();
            assert_eq!(text, format!(r#"{{"{}":"{}"}}"#, target.kind(), target.name()));
            assert_eq!(read(&text).unwrap(), target);
        }
    }
}
