//! Tokens that an embedder's server signs for its visitors (RFC 7519), with HMAC and SHA-256 alone: what a token says of its
//! algorithm chooses nothing.

use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode, errors::ErrorKind};
use serde::Deserialize;
use turnpike_config::Secret;

use super::{
    ice::is_subject,
    problem::{Code, Problem},
};

/// Clocks differ by so much, in seconds.
const LEEWAY: f64 = 5.0;

#[derive(Deserialize)]
struct Claims {
    sub: String,
    exp: f64,
    #[serde(default)]
    nbf: f64,
}

/// Whether a bearer token has the form of one (RFC 7519 §3).
pub(super) fn is_one(token: &str) -> bool {
    token.bytes().filter(|byte| *byte == b'.').count() == 2
}

/// The visitor that a token is for; `now` is in Unix seconds.
///
/// # Errors
/// 401 for one that is not signed by a key of ours, has no `sub` or `exp`, or is not of this time.
pub(super) fn subject_of(keys: &[Secret], token: &str, now: u64) -> Result<String, Problem> {
    let refused = |detail: &str| Err(Problem::new(Code::Unauthorized, detail));
    let mut validation = Validation::new(Algorithm::HS256);
    // The node's own clock decides about times; a key is for these tokens alone, whomever they name as their audience.
    validation.required_spec_claims.clear();
    (validation.validate_exp, validation.validate_aud) = (false, false);
    let read = |key: &Secret| decode::<Claims>(token, &DecodingKey::from_secret(key.expose()), &validation);
    let mut why = None;
    let Some(claims) = keys.iter().map(read).find_map(|read| match read {
        Ok(token) => Some(token.claims),
        Err(error) => {
            why = Some(error.into_kind());
            None
        }
    }) else {
        return refused(match why {
            None => "no key for tokens is set: write one into a file, and its path to auth.jwt_keys_file",
            Some(ErrorKind::InvalidSignature) => "the token is signed by no key of auth.jwt_keys_file",
            Some(ErrorKind::InvalidAlgorithm) => {
                "the token is not signed with HS256, the only one that is taken"
            }
            Some(_) => "the token cannot be read: its claims need `sub`, a text, and `exp`, in Unix seconds",
        });
    };
    let now = now as f64;
    if claims.exp + LEEWAY < now {
        return refused("the token has expired: sign a new one");
    }
    if claims.nbf - LEEWAY > now {
        return refused("the token is not good yet (`nbf`): see that the clocks are right");
    }
    match is_subject(&claims.sub) {
        true => Ok(claims.sub),
        false => refused("the token's `sub` is not 1 to 51 characters of A-Z a-z 0-9 . _ -"),
    }
}

#[cfg(test)]
mod tests {
    use jsonwebtoken::{EncodingKey, Header, encode};
    use serde_json::{Value, json};

    use super::*;

    const NOW: u64 = 1_800_000_000;

    fn keys() -> Vec<Secret> {
        [b"an older key of thirty-two bytes!!".as_slice(), b"the key of today, of 32 bytes and more"]
            .map(|key| Secret::new(key.to_vec()))
            .into()
    }

    fn token(algorithm: Algorithm, key: &[u8], claims: &Value) -> String {
        encode(&Header::new(algorithm), claims, &EncodingKey::from_secret(key)).unwrap()
    }

    fn outcome(claims: &Value) -> Result<String, Problem> {
        let keys = keys();
        subject_of(&keys, &token(Algorithm::HS256, keys[1].expose(), claims), NOW)
    }

    #[test]
    fn a_token_of_any_key_is_good_until_it_expires() {
        let claims = json!({"sub": "alice", "exp": NOW + 60, "aud": "turn", "name": "Alice"});
        for key in keys() {
            let token = token(Algorithm::HS256, key.expose(), &claims);
            assert!(is_one(&token));
            assert_eq!(subject_of(&keys(), &token, NOW).ok(), Some("alice".to_owned()));
            assert!(subject_of(&keys(), &token, NOW + 66).is_err());
        }
    }

    #[test]
    fn what_is_not_signed_by_us_or_says_too_little_is_refused() {
        let good = json!({"sub": "alice", "exp": NOW + 60});
        for other in [
            token(Algorithm::HS256, b"another key of thirty-two bytes...", &good),
            token(Algorithm::HS512, keys()[1].expose(), &good),
            // {"alg":"none"}
            "eyJhbGciOiJub25lIn0.eyJzdWIiOiJhbGljZSIsImV4cCI6OTk5OTk5OTk5OX0.".to_owned(),
            "..".to_owned(),
        ] {
            assert!(subject_of(&keys(), &other, NOW).is_err(), "{other}");
        }
        assert!(subject_of(&[], &token(Algorithm::HS256, keys()[1].expose(), &good), NOW).is_err());
        assert!(outcome(&good).is_ok());
        for claims in [
            json!({"sub": "alice"}),
            json!({"exp": NOW + 60}),
            json!({"sub": "alice", "exp": NOW - 6}),
            json!({"sub": "alice", "exp": NOW + 60, "nbf": NOW + 6}),
            json!({"sub": "alice:1", "exp": NOW + 60}),
            json!({"sub": "", "exp": NOW + 60}),
            json!({"sub": 7, "exp": NOW + 60}),
        ] {
            assert!(outcome(&claims).is_err(), "{claims}");
        }
    }
}
