//! What of a subject and a client's address goes into the ledger.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read as _, Write as _},
    net::IpAddr,
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
    sync::Arc,
};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;
use turnpike_config::{ClientPrivacy, Usage, UserPrivacy};
use turnpike_relay_api::target::Target;

/// Bytes of a label: enough that no two of a million subjects share one.
const LABEL_LEN: usize = 9;
const KEY_FILE: &str = "usage.key";
/// Where nobody of the configured tenants is meant.
pub(crate) const OTHER: &str = "other";

/// Makes labels by the privacy settings.
#[derive(Clone)]
pub(crate) struct Labels {
    user: UserPrivacy,
    client: ClientPrivacy,
    tenants: Arc<[String]>,
    key: [u8; 32],
}

impl Labels {
    pub(super) fn new(usage: &Usage, tenants: &[String], state_dir: &Path) -> Self {
        let key = match usage.user {
            UserPrivacy::Hash => key(state_dir).unwrap_or_else(|error| {
                tracing::warn!(
                    code = "usage_key",
                    %error,
                    path = %state_dir.join(KEY_FILE).display(),
                    "the key of the ledger's labels can neither be read nor made: subjects get other labels after a \
                     restart; make the file readable and node.state_dir writable"
                );
                random()
            }),
            UserPrivacy::Full | UserPrivacy::None => [0; 32],
        };
        Self { user: usage.user, client: usage.client_address, tenants: tenants.into(), key }
    }

    /// A subject without the parts that change with each credential and pair.
    pub(super) fn subject(&self, subject: &str) -> String {
        let owner = owner(subject);
        match self.user {
            UserPrivacy::None => String::new(),
            UserPrivacy::Full => owner.to_owned(),
            UserPrivacy::Hash if owner.is_empty() => String::new(),
            UserPrivacy::Hash => {
                let mut mac =
                    Hmac::<Sha256>::new_from_slice(&self.key).expect("HMAC takes a key of any length");
                mac.update(owner.as_bytes());
                URL_SAFE_NO_PAD.encode(&mac.finalize().into_bytes()[..LABEL_LEN])
            }
        }
    }

    /// The pair of signaling that a subject belongs to.
    pub(super) fn pair(&self, subject: &str) -> Option<String> {
        Target::all_of(subject).find_map(|target| match target {
            Target::Pair(pair) => Some(pair),
            _ => None,
        })
    }

    /// The configured tenant of a subject, [`OTHER`], or nothing where none is configured.
    pub(super) fn tenant(&self, subject: &str) -> &str {
        let first = subject.split('.').next().unwrap_or_default();
        match self.tenants.binary_search_by(|tenant| tenant.as_str().cmp(first)) {
            Ok(place) => &self.tenants[place],
            Err(_) if self.tenants.is_empty() => "",
            Err(_) => OTHER,
        }
    }

    pub(super) fn client(&self, client: IpAddr) -> String {
        let client = client.to_canonical();
        match (self.client, client) {
            (ClientPrivacy::None, _) => String::new(),
            (ClientPrivacy::Full, client) => client.to_string(),
            (ClientPrivacy::Prefix, IpAddr::V4(v4)) => {
                let [a, b, c, _] = v4.octets();
                format!("{a}.{b}.{c}.0/24")
            }
            (ClientPrivacy::Prefix, IpAddr::V6(v6)) => {
                let [a, b, c, ..] = v6.segments();
                format!("{}/48", std::net::Ipv6Addr::new(a, b, c, 0, 0, 0, 0, 0))
            }
        }
    }
}

/// `alice` of `alice.CREDENTIAL`, the session of `SESSION.PAIR.CREDENTIAL`.
fn owner(subject: &str) -> String {
    let subjects = Target::all_of(subject).filter_map(|target| match target {
        Target::Subject(name) => Some(name),
        _ => None,
    });
    subjects.last().unwrap_or_default()
}

/// The key of a state folder, made when missing.
fn key(state_dir: &Path) -> io::Result<[u8; 32]> {
    let path = state_dir.join(KEY_FILE);
    let mut key = [0; 32];
    match File::open(&path) {
        Ok(mut file) => file.read_exact(&mut key).map(|()| key),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let key = random();
            let new = state_dir.join("usage.key.new");
            let mut file =
                OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
            file.write_all(&key)?;
            file.sync_all()?;
            fs::rename(new, path)?;
            Ok(key)
        }
        Err(error) => Err(error),
    }
}

fn random() -> [u8; 32] {
    let mut key = [0; 32];
    getrandom::fill(&mut key).expect("the kernel gives random bytes");
    key
}

#[cfg(test)]
mod tests {
    use super::*;

    const SESSION: &str = "AAAAAAAAAAAAAAAAAAAAAA";
    const PAIR: &str = "BBBBBBBBBBBBBBBBBBBBBB";
    const CREDENTIAL: &str = "CCCCCCCCCCCC";

    fn labels(user: UserPrivacy, client: ClientPrivacy, folder: &Path) -> Labels {
        let usage = Usage {
            interim: std::time::Duration::from_secs(5),
            retention_days: 1,
            client_address: client,
            user,
        };
        Labels::new(&usage, &["blog".to_owned(), "shop".to_owned()], folder)
    }

    #[test]
    fn a_subject_has_one_label_over_credentials_and_restarts_and_another_on_another_node() {
        let (folder, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let make = |folder: &Path| labels(UserPrivacy::Hash, ClientPrivacy::None, folder);
        let first = make(folder.path());
        let label = first.subject(&format!("alice.{CREDENTIAL}"));
        assert_eq!(label.len(), 12);
        assert!(!label.contains("alice"));
        assert_eq!(label, make(folder.path()).subject("alice.DDDDDDDDDDDD"));
        assert_ne!(label, make(other.path()).subject("alice"));
        assert_ne!(label, first.subject("bob"));
        assert_eq!(first.subject(""), "");
        let mode = std::os::unix::fs::MetadataExt::mode(&fs::metadata(folder.path().join(KEY_FILE)).unwrap());
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn what_is_kept_is_what_was_asked_for() {
        let folder = tempfile::tempdir().unwrap();
        let subject = format!("{SESSION}.{PAIR}.{CREDENTIAL}");
        let [v4, v6, mapped] =
            ["198.18.7.9", "2001:db8:1:2::3", "::ffff:198.18.7.9"].map(|a| a.parse().unwrap());
        let full = labels(UserPrivacy::Full, ClientPrivacy::Full, folder.path());
        assert_eq!((full.subject(&subject).as_str(), full.pair(&subject).as_deref()), (SESSION, Some(PAIR)));
        assert_eq!(full.client(v6), "2001:db8:1:2::3");
        let none = labels(UserPrivacy::None, ClientPrivacy::None, folder.path());
        assert_eq!((none.subject(&subject), none.client(v4)), (String::new(), String::new()));
        let prefix = labels(UserPrivacy::Full, ClientPrivacy::Prefix, folder.path());
        assert_eq!(prefix.client(v4), "198.18.7.0/24");
        assert_eq!(prefix.client(mapped), "198.18.7.0/24");
        assert_eq!(prefix.client(v6), "2001:db8:1::/48");
    }

    #[test]
    fn a_tenant_is_one_that_is_configured() {
        let folder = tempfile::tempdir().unwrap();
        let labels = labels(UserPrivacy::Full, ClientPrivacy::Full, folder.path());
        for (subject, tenant) in
            [("shop.alice", "shop"), ("shop", "shop"), ("shopper.alice", OTHER), ("", OTHER)]
        {
            assert_eq!(labels.tenant(subject), tenant, "{subject}");
        }
    }
}
