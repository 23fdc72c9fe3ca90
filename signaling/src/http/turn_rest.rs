//! `GET /turn?service=turn&username=&key=`: the dialect of draft-uberti-behave-turn-rest-00 §2, with `api=` as Janus
//! sends it.

use std::sync::Arc;

use axum::{
    Json,
    extract::{Query, State, rejection::QueryRejection},
    http::header,
    response::IntoResponse,
};
use serde::{Deserialize, Serialize};

use super::{
    Context, ice, keys,
    problem::{Code, Problem},
};
use crate::ice::Wanted;

#[derive(Debug, Deserialize)]
pub(super) struct Parameters {
    service: Option<String>,
    username: Option<String>,
    key: Option<String>,
    api: Option<String>,
}

#[derive(Serialize)]
struct Answer {
    username: String,
    password: String,
    ttl: u64,
    uris: Vec<String>,
}

pub(super) async fn get(
    State(context): State<Arc<Context>>,
    parameters: Result<Query<Parameters>, QueryRejection>,
) -> Result<impl IntoResponse, Problem> {
    let Query(parameters) = parameters.map_err(|error| Problem::new(Code::BadRequest, error.body_text()))?;
    let key = parameters.key.or(parameters.api).unwrap_or_default();
    if !keys::is_known(&context.api_keys.load(), &key) {
        ice::count(&context, "draft", "refused");
        return Err(Problem::new(Code::Forbidden, "send an API key of auth.api_keys_file as key= or api="));
    }
    match parameters.service.as_deref() {
        Some("turn") => {}
        Some(_) => return Err(Problem::new(Code::NotFound, "the only service is turn")),
        None => return Err(Problem::new(Code::BadRequest, "service=turn is missing")),
    }
    let subject = parameters.username.filter(|name| !name.is_empty());
    if subject.as_deref().is_some_and(|subject| !ice::is_subject(subject)) {
        return Err(Problem::new(Code::BadRequest, "username is 1 to 51 characters of A-Z a-z 0-9 . _ -"));
    }
    let minted = ice::mint(&context, Wanted { subject, ..Wanted::default() }, "draft")?;
    let answer = Answer {
        username: minted.username,
        password: minted.password,
        ttl: minted.ttl,
        uris: context.ice.turn_urls().to_vec(),
    };
    Ok(([(header::CACHE_CONTROL, "no-store")], Json(answer)))
}
