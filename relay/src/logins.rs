//! Who may allocate, in the shape of the core.

use std::{fmt, io};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};

use turnpike_config::Auth;
use zeroize::Zeroizing;

/// Secrets and static users, which no log shows.
pub(crate) struct Logins {
    pub(crate) secrets: Vec<Zeroizing<Vec<u8>>>,
    pub(crate) static_users: Vec<(String, Zeroizing<String>)>,
}

impl Logins {
    /// Those of the configuration, and the node's own one.
    pub(crate) fn of(auth: &Auth, own: Option<&OwnLogin>) -> Self {
        let text = |bytes: &[u8]| Zeroizing::new(String::from_utf8_lossy(bytes).into_owned());
        Self {
            secrets: auth.secrets.iter().map(|secret| Zeroizing::new(secret.expose().to_vec())).collect(),
            static_users: auth
                .static_users
                .iter()
                .map(|user| (user.username.clone(), text(user.password.expose())))
                .chain(own.map(|own| (own.name.to_string(), own.password.clone())))
                .collect(),
        }
    }
}

/// What the node tries itself with: random, and forgotten at its end.
#[derive(Clone)]
pub(crate) struct OwnLogin {
    pub(crate) name: Box<str>,
    pub(crate) password: Zeroizing<String>,
}

impl OwnLogin {
    /// # Errors
    /// When there is no randomness.
    pub(crate) fn new() -> io::Result<Self> {
        let mut bytes = Zeroizing::new([0; 48]);
        getrandom::fill(&mut *bytes)?;
        let [name, password] = [&bytes[..16], &bytes[16..]].map(|part| URL_SAFE_NO_PAD.encode(part));
        Ok(Self { name: format!("selftest-{name}").into(), password: Zeroizing::new(password) })
    }
}

impl fmt::Debug for Logins {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Logins(***)")
    }
}
