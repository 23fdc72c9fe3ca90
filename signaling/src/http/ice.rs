//! `GET` and `POST /v1/ice`: what `new RTCPeerConnection()` takes.

use std::sync::Arc;

use axum::{
    Extension, Json,
    extract::{Query, State, rejection::JsonRejection},
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::{Deserialize, Deserializer, Serialize};
use turnpike_matching::Id;
use turnpike_relay_api::credential::{Limits, MAX_SUBJECT_LEN};

use super::{
    Context, jwt, keys,
    problem::{Code, Problem},
};
use crate::{
    client_address::ClientAddress,
    contract::{Ice, IceServer, Privacy},
    ice::{Minted, Unavailable, Wanted},
};

const NO_STORE: [(HeaderName, HeaderValue); 1] =
    [(header::CACHE_CONTROL, HeaderValue::from_static("no-store"))];
/// A dot and the credential's id are put behind a subject.
const MAX_WANTED_SUBJECT: usize = MAX_SUBJECT_LEN - 13;
const TTL: std::ops::RangeInclusive<u64> = 60..=86_400;
/// Up to the largest integer that JSON carries safely.
const BYTES: std::ops::RangeInclusive<u64> = 1..=(1 << 53) - 1;
const ALLOCATIONS: std::ops::RangeInclusive<u32> = 1..=1_000;

#[derive(Debug, Deserialize)]
pub(super) struct Options {
    /// 1: the same as WHIP's Link headers.
    link: Option<u8>,
}

/// For a page's session token, an embedder's key or a token signed by it, or anyone where that is allowed; STUN only without leave to mint.
pub(super) async fn get(
    State(context): State<Arc<Context>>,
    Extension(client): Extension<ClientAddress>,
    Query(options): Query<Options>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let ice = match keys::bearer(&headers) {
        Some(token) => for_token(&context, token)?,
        None if context.anonymous => anonymous(&context, client)?,
        None => context.ice.stun_only(),
    };
    let links = match options.link {
        Some(1) => links(&ice),
        _ => Vec::new(),
    };
    let mut response = (NO_STORE, Json(ice)).into_response();
    for link in links {
        response.headers_mut().append(header::LINK, link);
    }
    Ok(response)
}

/// For embedders.
pub(super) async fn post(
    State(context): State<Arc<Context>>,
    headers: HeaderMap,
    body: Result<Json<Request>, JsonRejection>,
) -> Result<Response, Problem> {
    let key = keys::bearer(&headers).filter(|key| keys::is_known(&context.api_keys.load(), key));
    if key.is_none() {
        count(&context, "rest", "refused");
        return Err(unauthorized("send an API key of auth.api_keys_file as `Authorization: Bearer KEY`"));
    }
    let Json(request) = body.map_err(unread)?;
    let label = request.label.clone();
    let minted = mint(&context, request.wanted()?, "rest")?;
    tracing::info!(credential = minted.credential_id, label, "credential minted for an API key");
    let body = MintedIce { ice: minted.ice, credential_id: minted.credential_id };
    Ok((StatusCode::CREATED, NO_STORE, Json(body)).into_response())
}

/// A body that is not what it should be.
pub(super) fn unread(rejection: JsonRejection) -> Problem {
    match rejection.status() {
        StatusCode::PAYLOAD_TOO_LARGE => Problem::new(Code::PayloadTooLarge, rejection.body_text()),
        StatusCode::UNSUPPORTED_MEDIA_TYPE => {
            Problem::new(Code::UnsupportedMediaType, "send JSON, with `Content-Type: application/json`")
        }
        _ => Problem::new(Code::BadRequest, rejection.body_text()),
    }
}

/// The body of `POST`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Request {
    #[serde(default, deserialize_with = "given")]
    ttl: Option<u64>,
    #[serde(default, deserialize_with = "given")]
    subject: Option<String>,
    #[serde(default, deserialize_with = "given")]
    label: Option<String>,
    #[serde(default, deserialize_with = "given")]
    max_allocations: Option<u32>,
    #[serde(default, deserialize_with = "given")]
    max_bytes: Option<u64>,
    #[serde(default, deserialize_with = "given")]
    policy: Option<Privacy>,
}

/// A member that is there has a value: `null` is none of a number or a text.
fn given<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<Option<T>, D::Error> {
    T::deserialize(deserializer).map(Some)
}

impl Request {
    fn wanted(self) -> Result<Wanted, Problem> {
        let refuse = |detail: &str| Err(Problem::new(Code::BadRequest, detail));
        if self.ttl.is_some_and(|ttl| !TTL.contains(&ttl)) {
            return refuse("ttl is 60 to 86400 seconds");
        }
        if self.subject.as_deref().is_some_and(|subject| !is_subject(subject)) {
            return refuse("subject is 1 to 51 characters of A-Z a-z 0-9 . _ -");
        }
        if self.label.as_deref().is_some_and(|label| !(1..=64).contains(&label.chars().count())) {
            return refuse("label is 1 to 64 characters");
        }
        if self.max_allocations.is_some_and(|most| !ALLOCATIONS.contains(&most)) {
            return refuse("maxAllocations is 1 to 1000");
        }
        if self.max_bytes.is_some_and(|most| !BYTES.contains(&most)) {
            return refuse("maxBytes is 1 to 9007199254740991");
        }
        let limits = Limits { allocations: self.max_allocations, bytes: self.max_bytes, ..Limits::default() };
        Ok(Wanted { subject: self.subject, ttl: self.ttl, limits, policy: self.policy })
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct MintedIce {
    #[serde(flatten)]
    ice: Ice,
    credential_id: String,
}

/// Whether `subject.credentialId` is in the grammar of minted subjects.
pub(super) fn is_subject(subject: &str) -> bool {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
    (1..=MAX_WANTED_SUBJECT).contains(&subject.len()) && subject.bytes().all(allowed)
}

/// Mints, and counts by dialect how it went.
pub(super) fn mint(context: &Context, wanted: Wanted, dialect: &str) -> Result<Minted, Problem> {
    let minted = context.ice.mint(wanted);
    count(context, dialect, if minted.is_ok() { "minted" } else { "unavailable" });
    minted.map_err(|Unavailable| {
        Problem::new(Code::RelayUnavailable, "the relay cannot be reached, so no credential was minted")
            .retry_after(std::time::Duration::from_secs(5))
    })
}

pub(super) fn count(context: &Context, dialect: &str, result: &str) {
    context.metrics.credentials_minted.with_label_values(&[dialect, result]).inc();
}

fn for_token(context: &Context, token: &str) -> Result<Ice, Problem> {
    if keys::is_known(&context.api_keys.load(), token) {
        return Ok(mint(context, Wanted::default(), "rest")?.ice);
    }
    if jwt::is_one(token) {
        let subject = jwt::subject_of(&context.jwt_keys.load(), token, context.clock.unix().as_secs())
            .inspect_err(|_| count(context, "rest", "refused"))?;
        return Ok(mint(context, Wanted { subject: Some(subject), ..Wanted::default() }, "rest")?.ice);
    }
    let ice = Id::parse(token).and_then(|token| context.hub.ice_of_token(token));
    ice.ok_or_else(|| unauthorized("the token is of no open session, no API key and no JWT"))
}

/// Without a relay a direct call may still work: STUN only, with a warning.
fn anonymous(context: &Context, client: ClientAddress) -> Result<Ice, Problem> {
    context.mint_limit.take(context.clock.mono(), client.0).map_err(|wait| {
        count(context, "anonymous", "refused");
        let detail = format!("too many credentials for this address; try again in {} s", wait.as_secs() + 1);
        Problem::new(Code::RateLimited, detail).retry_after(wait)
    })?;
    Ok(mint(context, Wanted::default(), "anonymous")
        .map_or_else(|_| context.ice.without_relay(Privacy::All), |minted| minted.ice))
}

fn unauthorized(detail: &str) -> Problem {
    Problem::new(Code::Unauthorized, detail)
}

/// `rel="ice-server"` links (RFC 9725 §4.6).
fn links(ice: &Ice) -> Vec<HeaderValue> {
    let link = |url: &String, credential: Option<(&str, &str)>| {
        let credential = credential.map_or_else(String::new, |(username, password)| {
            format!("; username=\"{username}\"; credential=\"{password}\"; credential-type=\"password\"")
        });
        HeaderValue::from_str(&format!("<{url}>; rel=\"ice-server\"{credential}")).ok()
    };
    let all = ice.ice_servers.iter().flat_map(|server| match server {
        IceServer::Stun { urls } => urls.iter().map(|url| link(url, None)).collect::<Vec<_>>(),
        IceServer::Turn { urls, username, credential } => {
            urls.iter().map(|url| link(url, Some((username, credential)))).collect()
        }
    });
    all.flatten().collect()
}
