//! Whether this service lives, and whether it can do its work.

use std::sync::Arc;

use axum::{
    Json,
    extract::State,
    http::{StatusCode, header},
    response::IntoResponse,
};
use serde::Serialize;

use super::Context;

#[derive(Serialize)]
struct Readiness {
    ready: bool,
    draining: bool,
    /// `up`, `down`, or `elsewhere` where `ice.urls` names other relays.
    relay: &'static str,
}

pub(super) async fn healthz() -> &'static str {
    "ok\n"
}

/// Ready: the relay answers, and nobody drains.
pub(super) async fn readyz(State(context): State<Arc<Context>>) -> impl IntoResponse {
    let draining = context.hub.is_draining();
    let relay = context.relay_state();
    let ready = !draining && relay != "down";
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, [(header::CACHE_CONTROL, "no-store")], Json(Readiness { ready, draining, relay }))
}

pub(super) async fn metrics(State(context): State<Arc<Context>>) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], context.metrics.render())
}
