use turnpike_relay_api::credential;
use zeroize::Zeroizing;

/// A username and its password.
#[derive(Clone)]
pub struct Credentials {
    /// As sent in USERNAME.
    pub username: String,
    /// The password.
    pub password: Zeroizing<String>,
}

impl Credentials {
    /// A user with a fixed password.
    pub fn new(username: impl Into<String>, password: impl Into<String>) -> Self {
        Self { username: username.into(), password: Zeroizing::new(password.into()) }
    }

    /// The password that a TURN REST secret gives to any username, also one that no minter would write.
    pub fn of_secret(secret: &[u8], username: impl Into<String>) -> Self {
        let username = username.into();
        Self { password: credential::password(secret, &username), username }
    }

    /// A TURN REST credential `expiry:subject`, `expires_at` in Unix seconds.
    pub fn mint(secret: &[u8], expires_at: u64, subject: &str) -> Self {
        Self::of_secret(secret, format!("{expires_at}:{subject}"))
    }
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Credentials({}, ***)", self.username)
    }
}
