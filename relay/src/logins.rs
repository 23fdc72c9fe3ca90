//! Who may allocate, in the shape of the core.

use std::fmt;

use turnpike_config::Auth;
use zeroize::Zeroizing;

/// Secrets and static users, which no log shows.
pub(crate) struct Logins {
    pub(crate) secrets: Vec<Zeroizing<Vec<u8>>>,
    pub(crate) static_users: Vec<(String, Zeroizing<String>)>,
}

impl Logins {
    pub(crate) fn of(auth: &Auth) -> Self {
        let text = |bytes: &[u8]| Zeroizing::new(String::from_utf8_lossy(bytes).into_owned());
        Self {
            secrets: auth.secrets.iter().map(|secret| Zeroizing::new(secret.expose().to_vec())).collect(),
            static_users: auth
                .static_users
                .iter()
                .map(|user| (user.username.clone(), text(user.password.expose())))
                .collect(),
        }
    }
}

impl fmt::Debug for Logins {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Logins(***)")
    }
}
