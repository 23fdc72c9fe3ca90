//! How the probe logs in.

use std::{fmt, time::SystemTime};

use turnpike_turn_client::Credentials;
use zeroize::Zeroizing;

/// The life of a credential that is made for the probe, in seconds.
const LIFE: u64 = 600;

/// What the server's answers are signed with.
#[derive(Clone)]
pub(crate) enum Login {
    /// The secret of TURN REST credentials.
    Secret(Zeroizing<Vec<u8>>),
    /// One user's.
    User { name: String, password: Zeroizing<String> },
}

impl Login {
    pub(super) fn credentials(&self) -> Credentials {
        match self {
            Self::Secret(secret) => {
                let now = SystemTime::UNIX_EPOCH.elapsed().map_or(0, |now| now.as_secs());
                Credentials::mint(secret, now + LIFE, "probe")
            }
            Self::User { name, password } => Credentials::new(name, password.as_str()),
        }
    }

    /// What to look at when it is refused.
    pub(super) fn cure(&self) -> &'static str {
        match self {
            Self::Secret(_) => {
                "the server signs with another secret, or its clock and this one are apart: compare the secret files \
                 and `date -u` on both"
            }
            Self::User { .. } => {
                "the server knows this user by another password, or not at all, or the credential has expired"
            }
        }
    }
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Login(***)")
    }
}
