//! What an operator sees and ends: `/v1/stats`, `/v1/pairs`, `/v1/reports`, `/v1/bans`, `/v1/drain`.

use std::{net::IpAddr, sync::Arc, time::Duration};

use axum::{
    Extension, Json, Router,
    extract::{
        Path, Query, Request, State,
        rejection::{JsonRejection, QueryRejection},
    },
    http::{HeaderMap, StatusCode, header},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::{delete, get, post},
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use turnpike_config::source_prefix;
use turnpike_matching::{Ended, Id};

use super::{
    Context, ice, keys,
    problem::{Code, Problem},
};
use crate::{
    client_address::ClientAddress,
    contract::{MAX_NOTE_CHARS, WireId},
    moderation::{Ban, Cause, Known, NotKept},
    random,
};

const PAGE: usize = 100;
const MAX_PAGE: usize = 1000;
const BAN_FOR: u64 = 86_400;
const MAX_BAN: u64 = 3650 * 86_400;

pub(super) fn routes(context: &Arc<Context>) -> Router<Arc<Context>> {
    Router::new()
        .route("/v1/stats", get(stats))
        .route("/v1/pairs", get(pairs))
        .route("/v1/pairs/{pair}", delete(end_pair))
        .route("/v1/reports", get(reports))
        .route("/v1/bans", get(bans).post(ban))
        .route("/v1/bans/{ban}", delete(unban))
        .route("/v1/drain", post(drain))
        .route_layer(middleware::from_fn_with_state(Arc::clone(context), guard))
}

/// A key of `auth.admin_keys_file` opens; who has none is slowed down.
async fn guard(
    State(context): State<Arc<Context>>,
    Extension(client): Extension<ClientAddress>,
    headers: HeaderMap,
    request: Request,
    next: Next,
) -> Response {
    let known = keys::bearer(&headers).is_some_and(|key| keys::is_known(&context.admin_keys.load(), key));
    let now = context.clock.mono();
    let paced = match known {
        true => context.admin_pace.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take(now),
        false => context.admin_limit.take(now, client.0),
    };
    if let Err(wait) = paced {
        let detail = "too many requests to the admin endpoints; try again later";
        return Problem::new(Code::RateLimited, detail).retry_after(wait).into_response();
    }
    if !known {
        let detail = match context.admin_keys.load().is_empty() {
            true => "no admin key is set: write one into a file, and its path to auth.admin_keys_file",
            false => "send an admin key of auth.admin_keys_file as `Authorization: Bearer KEY`",
        };
        return Problem::new(Code::Unauthorized, detail).into_response();
    }
    let mut response = next.run(request).await;
    response.headers_mut().insert(header::CACHE_CONTROL, header::HeaderValue::from_static("no-store"));
    response
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Stats {
    node: String,
    version: &'static str,
    draining: bool,
    relay: &'static str,
    sessions: usize,
    waiting: usize,
    pairs: usize,
    offers: usize,
    bans: usize,
}

async fn stats(State(context): State<Arc<Context>>) -> Json<Stats> {
    let numbers = context.hub.numbers();
    Json(Stats {
        node: context.node.clone(),
        version: env!("CARGO_PKG_VERSION"),
        draining: context.hub.is_draining(),
        relay: context.relay_state(),
        sessions: numbers.sessions,
        waiting: numbers.waiting,
        pairs: numbers.started,
        offers: numbers.offered,
        bans: context.moderation.list().len(),
    })
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Page<K> {
    limit: Option<usize>,
    after: Option<K>,
}

impl<K> Page<K> {
    fn limit(&self) -> Result<usize, Problem> {
        let limit = self.limit.unwrap_or(PAGE);
        match (1..=MAX_PAGE).contains(&limit) {
            true => Ok(limit),
            false => Err(bad("limit is 1 to 1000")),
        }
    }
}

type Asked<K> = Result<Query<Page<K>>, QueryRejection>;

fn page<K: DeserializeOwned>(asked: Asked<K>) -> Result<Page<K>, Problem> {
    asked.map(|Query(page)| page).map_err(|rejection| bad(&rejection.body_text()))
}

#[derive(Serialize)]
struct Pairs {
    pairs: Vec<Pair>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Pair {
    pair: WireId,
    #[serde(skip_serializing_if = "Option::is_none")]
    started_at: Option<u64>,
    path: &'static str,
    sides: Vec<Side>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Side {
    session: WireId,
    #[serde(skip_serializing_if = "Option::is_none")]
    device: Option<WireId>,
    network: IpAddr,
    privacy: &'static str,
    away: bool,
}

async fn pairs(State(context): State<Arc<Context>>, asked: Asked<WireId>) -> Result<Json<Pairs>, Problem> {
    let page = page(asked)?;
    let found = context.hub.pairs(page.after.as_ref().map(|after| after.0), page.limit()?);
    let pairs = found.into_iter().map(|pair| Pair {
        pair: WireId(pair.pair),
        started_at: pair.started,
        path: pair.path,
        sides: pair
            .sides
            .into_iter()
            .map(|side| Side {
                session: WireId(side.session),
                device: side.who.device.map(WireId),
                network: side.who.network,
                privacy: if side.relay_only { "relay" } else { "all" },
                away: side.away,
            })
            .collect(),
    });
    Ok(Json(Pairs { pairs: pairs.collect() }))
}

async fn end_pair(
    State(context): State<Arc<Context>>,
    Path(pair): Path<String>,
) -> Result<StatusCode, Problem> {
    match context.hub.end_pair(id(&pair)?, Ended::Admin) {
        true => {
            tracing::info!(pair, "pair ended by an operator");
            Ok(StatusCode::NO_CONTENT)
        }
        false => Err(Problem::new(Code::NotFound, "there is no such pair; it may have ended")),
    }
}

#[derive(Serialize)]
struct Reports {
    reports: Vec<Filed>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Filed {
    id: i64,
    at: u64,
    pair: String,
    category: String,
    note: String,
    reporter: Who,
    reported: Who,
    /// It has led to a ban.
    settled: bool,
}

#[derive(Serialize)]
struct Who {
    #[serde(skip_serializing_if = "Option::is_none")]
    device: Option<String>,
    network: String,
}

async fn reports(State(context): State<Arc<Context>>, asked: Asked<i64>) -> Result<Json<Reports>, Problem> {
    let page = page(asked)?;
    let known = context.moderation.reports(page.after, page.limit()? as u32).await;
    let known = known.map_err(|NotKept| {
        Problem::new(Code::NotKept, "the reports cannot be read; the log says why").retry_after(RETRY_AFTER)
    })?;
    let report = |known: Known| Filed {
        id: known.id,
        at: known.at,
        pair: known.pair,
        category: known.category,
        note: known.note,
        reporter: Who { device: Some(known.reporter), network: known.reporter_network },
        reported: Who { device: known.device, network: known.network },
        settled: known.settled,
    };
    Ok(Json(Reports { reports: known.into_iter().map(report).collect() }))
}

const RETRY_AFTER: Duration = Duration::from_secs(10);

#[derive(Serialize)]
struct Bans {
    bans: Vec<BanView>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct BanView {
    id: WireId,
    #[serde(skip_serializing_if = "Option::is_none")]
    device: Option<WireId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    network: Option<IpAddr>,
    cause: &'static str,
    note: String,
    created: u64,
    until: u64,
    /// Sessions that it has ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    ended: Option<usize>,
}

impl BanView {
    fn of(ban: Ban, ended: Option<usize>) -> Self {
        Self {
            id: WireId(ban.id),
            device: ban.device.map(WireId),
            network: ban.network,
            cause: ban.cause.name(),
            note: ban.note,
            created: ban.created,
            until: ban.until,
            ended,
        }
    }
}

async fn bans(State(context): State<Arc<Context>>) -> Json<Bans> {
    let bans = context.moderation.list().into_iter().map(|ban| BanView::of(ban, None));
    Json(Bans { bans: bans.collect() })
}

/// Whom to ban: a browser by the label that `/v1/pairs` and `/v1/reports` show, an address, or both.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Wanted {
    device: Option<String>,
    address: Option<String>,
    /// Seconds.
    ttl: Option<u64>,
    #[serde(default)]
    note: String,
}

async fn ban(
    State(context): State<Arc<Context>>,
    body: Result<Json<Wanted>, JsonRejection>,
) -> Result<impl IntoResponse, Problem> {
    let Json(wanted) = body.map_err(ice::unread)?;
    let ttl = wanted.ttl.unwrap_or(BAN_FOR);
    if !(1..=MAX_BAN).contains(&ttl) {
        return Err(bad("ttl is 1 to 315360000 seconds"));
    }
    if wanted.note.chars().count() > MAX_NOTE_CHARS {
        return Err(bad("note is 500 characters at most"));
    }
    let device = wanted.device.as_deref().map(id).transpose()?;
    let address = |text: &str| {
        text.parse::<IpAddr>()
            .map_err(|_| bad("address is an IPv4 or IPv6 address; of IPv6 the /64 is banned"))
    };
    let network = wanted.address.as_deref().map(address).transpose()?.map(source_prefix);
    if device.is_none() && network.is_none() {
        return Err(bad("name a device, an address, or both"));
    }
    let created = context.clock.unix().as_secs();
    let (cause, until) = (Cause::Admin, created + ttl);
    let ban = Ban { id: random::id(), device, network, cause, note: wanted.note, created, until };
    let kept = context.moderation.ban(ban.clone()).await;
    let ended = context.hub.enforce(&ban);
    context.hub.ban_everywhere(&ban);
    kept.map_err(|NotKept| {
        let detail =
            "the ban is in force, but could not be written down: it ends with this process; the log says why";
        Problem::new(Code::NotKept, detail)
    })?;
    Ok((StatusCode::CREATED, Json(BanView::of(ban, Some(ended)))))
}

async fn unban(State(context): State<Arc<Context>>, Path(ban): Path<String>) -> Result<StatusCode, Problem> {
    let id = id(&ban)?;
    context.hub.unban_everywhere(id);
    match context.moderation.unban(id).await {
        Ok(true) => {
            tracing::info!(ban, "ban lifted by an operator");
            Ok(StatusCode::NO_CONTENT)
        }
        Ok(false) => Err(Problem::new(Code::NotFound, "there is no such ban; it may have ended")),
        Err(NotKept) => {
            let detail = "the ban is lifted, but that could not be written down: it is back after a restart; \
                          the log says why";
            Err(Problem::new(Code::NotKept, detail))
        }
    }
}

#[derive(Serialize)]
struct Draining {
    draining: bool,
    /// Those that go on to their end.
    pairs: usize,
}

/// Nobody new is let in and nobody is paired from now on, until the process is started anew.
async fn drain(State(context): State<Arc<Context>>) -> impl IntoResponse {
    context.hub.drain();
    tracing::info!("draining for an operator: restart the service to take visitors again");
    (StatusCode::ACCEPTED, Json(Draining { draining: true, pairs: context.hub.numbers().started }))
}

fn id(text: &str) -> Result<Id, Problem> {
    Id::parse(text).ok_or_else(|| bad("an id has 22 characters of base64url"))
}

fn bad(detail: &str) -> Problem {
    Problem::new(Code::BadRequest, detail)
}
