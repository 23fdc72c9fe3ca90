//! The HTTP side: ICE configuration, the draft's dialect, health, and the page.

mod admin;
mod gate;
mod health;
mod ice;
mod jwt;
mod keys;
mod openapi;
mod page;
mod problem;
mod revoke;
mod turn_rest;

use std::{
    path::PathBuf,
    sync::{Arc, Mutex},
};

use arc_swap::ArcSwap;
use axum::{
    Router,
    extract::{DefaultBodyLimit, MatchedPath, Request, State},
    http::{HeaderValue, Method, header},
    middleware::{self, Next},
    response::Response,
    routing::{delete, get},
};
use ipnet::IpNet;
use socketioxide::layer::SocketIoLayer;
use tower_http::{catch_panic::CatchPanicLayer, cors::CorsLayer};
use turnpike_config::{Config, Secret};

pub(crate) use gate::Connection;

use crate::{
    clock::Clock,
    hub::Hub,
    ice::{IceSource, RelayUp},
    limit::{Bucket, Connections, SourceLimit},
    metrics::{Metrics, PAGE},
    moderation::Moderation,
};

/// JSON bodies are small.
const MAX_BODY: usize = 16 * 1024;
/// Requests to admin endpoints without a right key, of one address in a minute and in an hour.
const ADMIN_REQUESTS: (u32, u32) = (30, 300);
/// With one, all together: in a second, and at once.
const ADMIN_PACE: (u32, u32) = (50, 200);

/// What the handlers share.
pub(crate) struct Context {
    pub(crate) hub: Arc<Hub>,
    pub(crate) ice: Arc<IceSource>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) relay: RelayUp,
    pub(crate) own_relay: bool,
    pub(crate) admin_socket: PathBuf,
    pub(crate) clock: Clock,
    pub(crate) api_keys: ArcSwap<Vec<Secret>>,
    pub(crate) admin_keys: ArcSwap<Vec<Secret>>,
    pub(crate) jwt_keys: ArcSwap<Vec<Secret>>,
    pub(crate) admin_limit: SourceLimit,
    pub(crate) admin_pace: Mutex<Bucket>,
    pub(crate) moderation: Arc<Moderation>,
    pub(crate) node: String,
    pub(crate) anonymous: bool,
    pub(crate) mint_limit: SourceLimit,
    pub(crate) connections: Arc<Connections>,
    pub(crate) origins: Vec<String>,
    pub(crate) trusted_proxies: Vec<IpNet>,
    pub(crate) socket_path: String,
}

impl Context {
    pub(crate) fn new(
        config: &Config,
        hub: Arc<Hub>,
        ice: Arc<IceSource>,
        metrics: Arc<Metrics>,
        relay: RelayUp,
        moderation: Arc<Moderation>,
        clock: Clock,
    ) -> Self {
        let signaling = &config.signaling;
        Self {
            hub,
            ice,
            metrics,
            relay,
            own_relay: config.ice.own_relay,
            admin_socket: config.relay.admin_socket.clone(),
            clock,
            api_keys: ArcSwap::from_pointee(config.auth.api_keys.clone()),
            admin_keys: ArcSwap::from_pointee(config.auth.admin_keys.clone()),
            jwt_keys: ArcSwap::from_pointee(config.auth.jwt_keys.clone()),
            admin_limit: SourceLimit::new(ADMIN_REQUESTS.0, ADMIN_REQUESTS.1),
            admin_pace: Mutex::new(Bucket::new(ADMIN_PACE.0, ADMIN_PACE.1)),
            moderation,
            node: config.node.name.clone(),
            anonymous: config.mint.anonymous,
            mint_limit: SourceLimit::new(config.mint.per_ip_per_minute, config.mint.per_ip_per_hour),
            connections: Arc::new(Connections::new(signaling.max_sockets, signaling.max_sockets_per_ip)),
            origins: signaling.origins.clone(),
            trusted_proxies: signaling.trusted_proxies.clone(),
            socket_path: signaling.path.clone(),
        }
    }
}

impl Context {
    /// `up`, `down`, or `elsewhere` where `ice.urls` names other relays.
    fn relay_state(&self) -> &'static str {
        match (self.own_relay, self.relay.get()) {
            (false, _) => "elsewhere",
            (true, true) => "up",
            (true, false) => "down",
        }
    }
}

/// Everything that strangers, embedders and operators reach.
pub(crate) fn public(context: Arc<Context>, sockets: SocketIoLayer) -> Router {
    let origins = context.origins.iter().filter_map(|origin| HeaderValue::from_str(origin).ok());
    let cors = CorsLayer::new()
        .allow_origin(origins.collect::<Vec<_>>())
        .allow_methods([Method::GET, Method::POST])
        .allow_headers([header::AUTHORIZATION, header::CONTENT_TYPE]);
    Router::new()
        .route("/v1/ice", get(ice::get).post(ice::post).layer(cors))
        .route("/v1/ice/{credential_id}", delete(revoke::credential))
        .route("/v1/subjects/{subject}/credentials", delete(revoke::subject))
        .merge(admin::routes(&context))
        .route("/openapi.json", get(openapi::get))
        .route("/turn", get(turn_rest::get))
        .route("/healthz", get(health::healthz))
        .route("/readyz", get(health::readyz))
        .method_not_allowed_fallback(problem::method_not_allowed)
        .fallback(page::serve)
        .layer(middleware::from_fn_with_state(Arc::clone(&context), measure))
        .layer(sockets)
        .layer(middleware::from_fn_with_state(Arc::clone(&context), gate::guard))
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .layer(CatchPanicLayer::custom(problem::panicked))
        .with_state(context)
}

/// What the operator's Prometheus reads.
pub(crate) fn metrics(context: Arc<Context>) -> Router {
    Router::new()
        .route("/metrics", get(health::metrics))
        .route("/healthz", get(health::healthz))
        .route("/readyz", get(health::readyz))
        .with_state(context)
}

async fn measure(State(context): State<Arc<Context>>, request: Request, next: Next) -> Response {
    let started = context.clock.mono();
    let method = request.method().clone();
    let route = request.extensions().get::<MatchedPath>().cloned();
    let response = next.run(request).await;
    let route = route.as_ref().map_or(PAGE, MatchedPath::as_str);
    context.metrics.answered(
        route,
        method.as_str(),
        response.status().as_u16(),
        context.clock.mono() - started,
    );
    response
}
