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
    /// It works, but not as well as it could.
    degraded: bool,
    /// `up` or `down`, where nodes share one.
    #[serde(skip_serializing_if = "Option::is_none")]
    redis: Option<&'static str>,
}

pub(super) async fn healthz() -> &'static str {
    "ok\n"
}

/// Ready: the relay answers, and nobody drains. Without Redis a node goes on alone: were it not ready then, every node
/// would leave its balancer at once.
pub(super) async fn readyz(State(context): State<Arc<Context>>) -> impl IntoResponse {
    let draining = context.hub.is_draining();
    let relay = context.relay_state();
    let redis = context.hub.shares().map(|up| if up { "up" } else { "down" });
    let ready = !draining && relay != "down";
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let readiness = Readiness { ready, draining, relay, degraded: redis == Some("down"), redis };
    (status, [(header::CACHE_CONTROL, "no-store")], Json(readiness))
}

pub(super) async fn metrics(State(context): State<Arc<Context>>) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], context.metrics.render())
}
