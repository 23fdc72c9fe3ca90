use std::{collections::HashSet, path::PathBuf, time::Duration};

use super::Purpose;
use crate::{
    Auth, Node, Secret, StaticUser,
    check::{Checker, unless_empty},
    raw,
};

/// Longest USERNAME and REALM of STUN in bytes (RFC 8489 §14.3, §14.9).
const MAX_USERNAME_LEN: usize = 508;
const MAX_REALM_LEN: usize = 127;

const TTL: (Duration, Duration) = (Duration::from_secs(60), Duration::from_secs(86_400));

pub(super) struct SecretFiles {
    pub(super) secret: PathBuf,
    pub(super) api_keys: Option<PathBuf>,
    pub(super) admin_keys: Option<PathBuf>,
    pub(super) jwt_keys: Option<PathBuf>,
}

/// Secrets and keys are left out: they lie in the files.
pub(super) fn resolve(
    c: &mut Checker<'_>,
    raw: raw::Auth,
    node: &Node,
    purpose: Purpose<'_>,
) -> (Auth, SecretFiles) {
    let path = |text: &str| purpose.path(text);
    let secret = purpose.default_path("/etc/turnpike/secret", &node.state_dir, "secret");
    let files = SecretFiles {
        secret: c.take("auth.secret_file", raw.secret_file, secret, |text| path(&text)),
        api_keys: c.take("auth.api_keys_file", raw.api_keys_file, None, unless_empty(path)),
        admin_keys: c.take("auth.admin_keys_file", raw.admin_keys_file, None, unless_empty(path)),
        jwt_keys: c.take("auth.jwt_keys_file", raw.jwt_keys_file, None, unless_empty(path)),
    };
    let realm = c.take("auth.realm", raw.realm, None, unless_empty(realm));
    let ten_minutes = Duration::from_secs(600);
    let auth = Auth {
        secrets: Vec::new(),
        realm: realm.or_else(|| node.domain.clone()).unwrap_or_else(|| "turnpike".to_owned()),
        credential_ttl: c.duration("auth.credential_ttl", raw.credential_ttl, ten_minutes, TTL.0..=TTL.1),
        strict_expiry: c.flag(raw.strict_expiry, false),
        api_keys: Vec::new(),
        admin_keys: Vec::new(),
        jwt_keys: Vec::new(),
        static_users: static_users(c, raw.static_user),
    };
    (auth, files)
}

fn static_users(c: &mut Checker<'_>, raw: Vec<raw::StaticUser>) -> Vec<StaticUser> {
    let mut seen = HashSet::new();
    let mut users = Vec::new();
    for user in raw {
        let (username, at) = (user.username.get_ref(), user.username.span());
        if username.is_empty() || username.len() > MAX_USERNAME_LEN {
            let refusal = format!("has {} bytes: write 1 to {MAX_USERNAME_LEN}", username.len());
            c.refuse("auth.static_user.username", Some(&at), &refusal);
        }
        if !seen.insert(username.clone()) {
            let refusal = format!("\"{username}\" is there twice: remove one of them");
            c.refuse("auth.static_user.username", Some(&at), &refusal);
        }
        if user.password.get_ref().is_empty() {
            let refusal = "is empty: anyone could use the relay; write a long random one";
            c.refuse("auth.static_user.password", Some(&user.password.span()), refusal);
        }
        let password = Secret::new(user.password.into_inner());
        users.push(StaticUser { username: user.username.into_inner(), password });
    }
    users
}

/// A realm as a quoted string of STUN without anything to escape (RFC 8489 §14.9).
fn realm(text: &str) -> Result<String, String> {
    let plain = |c: char| !c.is_control() && c != '"' && c != '\\';
    match text.len() <= MAX_REALM_LEN && text.chars().all(plain) {
        true => Ok(text.to_owned()),
        false => Err(format!(
            "is no realm: write at most {MAX_REALM_LEN} bytes without quotes, backslashes and control characters"
        )),
    }
}
