//! API keys and bearer tokens.

use axum::http::{HeaderMap, header};
use subtle::ConstantTimeEq as _;
use turnpike_config::Secret;

use super::problem::{Code, Problem};

/// The token of `Authorization: Bearer`.
pub(super) fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = headers.get(header::AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

/// Whether a key is one of ours, in a time that does not tell which, or how much of it is right.
pub(super) fn is_known(keys: &[Secret], key: &str) -> bool {
    let found = keys.iter().map(|known| known.expose().ct_eq(key.as_bytes()));
    found.fold(0, |any, equal| any | equal.unwrap_u8()) == 1
}

/// # Errors
/// 401 for a request without one of these keys as its bearer.
pub(super) fn require(keys: &[Secret], headers: &HeaderMap) -> Result<(), Problem> {
    match bearer(headers).is_some_and(|key| is_known(keys, key)) {
        true => Ok(()),
        false => Err(Problem::new(
            Code::Unauthorized,
            "send an API key of auth.api_keys_file as `Authorization: Bearer KEY`",
        )),
    }
}
