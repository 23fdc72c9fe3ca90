//! The admin API: HTTP/JSON under `/v1` on a Unix socket of mode 0660.

use std::{
    fs::{self, Permissions},
    io,
    os::unix::{
        fs::{FileTypeExt as _, PermissionsExt as _},
        net::UnixStream,
    },
    path::{Path, PathBuf},
};

use axum::{
    Json, Router,
    extract::{
        DefaultBodyLimit, Query, State,
        rejection::{JsonRejection, QueryRejection},
    },
    http::{StatusCode, header::CONTENT_TYPE},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use serde::Serialize;
use socket2::{Domain, SockAddr, Socket, Type};
use tokio::net::UnixListener;
use turnpike_relay_api::{
    admin::{
        DRAIN, Ended, KILL, RELOAD, REVOCATIONS, REVOKE, Reloaded, Revocations, Revoke, Revoked, SESSIONS,
        STATUS, Sessions, Status, UNDRAIN, UNREVOKE, Unrevoked,
    },
    cost::{BUDGET, Budget, COST, Cost},
    target::Target,
    usage::{USAGE, UsageQuery},
};

use crate::{
    StartError,
    ledger::Unreadable,
    view::{Busy, Leaving, SharedView},
};

/// Bodies name one target.
const MAX_BODY: usize = 16 * 1024;

/// The endpoints.
pub(crate) fn router(view: SharedView) -> Router {
    Router::new()
        .route(STATUS, get(status))
        .route(SESSIONS, get(sessions))
        .route(USAGE, get(usage))
        .route(COST, get(cost))
        .route(BUDGET, get(budget))
        .route(KILL, post(kill))
        .route(REVOKE, post(revoke))
        .route(UNREVOKE, post(unrevoke))
        .route(REVOCATIONS, get(revocations))
        .route(DRAIN, post(drain))
        .route(UNDRAIN, post(undrain))
        .route(RELOAD, post(reload))
        .method_not_allowed_fallback(async || {
            Problem::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", "Not with this method")
        })
        .fallback(async || Problem::new(StatusCode::NOT_FOUND, "not_found", "No such endpoint"))
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .with_state(view)
}

/// The path of a bound admin socket, which is removed when dropped.
#[derive(Debug)]
pub(crate) struct AdminPath(PathBuf);

impl AdminPath {
    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for AdminPath {
    fn drop(&mut self) {
        // It may have been removed by hand.
        let _ = fs::remove_file(&self.0);
    }
}

/// Makes the admin socket; a stale one that nobody answers on is replaced.
///
/// # Errors
/// [`StartError::AdminInUse`] when a process answers on it, else [`StartError::Admin`].
pub(crate) fn bind(path: &Path) -> Result<(UnixListener, AdminPath), StartError> {
    let unusable = |source| StartError::Admin { path: path.to_owned(), source };
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).map_err(unusable)?;
    }
    match UnixStream::connect(path) {
        Ok(_) => return Err(StartError::AdminInUse { path: path.to_owned() }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused && is_socket(path) => {
            fs::remove_file(path).map_err(unusable)?;
        }
        Err(error) => return Err(unusable(error)),
    }
    listen(path).map(|listener| (listener, AdminPath(path.to_owned()))).map_err(unusable)
}

/// Nobody can connect before the mode is set: that takes a `listen`.
fn listen(path: &Path) -> io::Result<UnixListener> {
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    socket.bind(&SockAddr::unix(path)?)?;
    fs::set_permissions(path, Permissions::from_mode(0o660))?;
    socket.listen(128)?;
    UnixListener::from_std(socket.into())
}

fn is_socket(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|metadata| metadata.file_type().is_socket())
}

async fn status(State(view): State<SharedView>) -> Json<Status> {
    Json(view.status())
}

async fn sessions(State(view): State<SharedView>) -> Result<Json<Sessions>, Problem> {
    Ok(Json(view.sessions().await?))
}

async fn usage(
    State(view): State<SharedView>,
    query: Result<Query<UsageQuery>, QueryRejection>,
) -> Result<Response, Problem> {
    let Query(query) = query?;
    let format = query.format;
    let unreadable = |error: Unreadable| Problem {
        detail: Some(format!("{}: {error}", view.ledger.file().display())),
        ..Problem::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "ledger_unreadable",
            "The usage ledger cannot be read",
        )
    };
    let (kind, text) = view.ledger.usage(query).await.map_err(unreadable)?.into_text(format);
    Ok(([(CONTENT_TYPE, kind)], text).into_response())
}

async fn cost(State(view): State<SharedView>) -> Json<Cost> {
    Json(view.ledger.cost())
}

async fn budget(State(view): State<SharedView>) -> Json<Budget> {
    Json(view.node.budget.report(view.ledger.cost()))
}

async fn kill(State(view): State<SharedView>, target: Body<Target>) -> Result<Json<Ended>, Problem> {
    let Json(target) = target?;
    let ended = view.end(&target).await?.len() as u64;
    tracing::info!(kind = target.kind(), name = target.name(), ended, "ended by the admin API");
    Ok(Json(Ended { ended }))
}

async fn revoke(State(view): State<SharedView>, revoke: Body<Revoke>) -> Result<Json<Revoked>, Problem> {
    let Json(revoke) = revoke?;
    if revoke.until.is_some_and(|until| until <= view.node.clock.now().unix) {
        return Err(Problem::new(StatusCode::BAD_REQUEST, "until_is_past", "`until` is not in the future"));
    }
    Ok(Json(view.revoke(revoke).await?))
}

async fn unrevoke(State(view): State<SharedView>, target: Body<Target>) -> Result<Json<Unrevoked>, Problem> {
    Ok(Json(view.unrevoke(&target?.0).await))
}

async fn revocations(State(view): State<SharedView>) -> Json<Revocations> {
    Json(Revocations { revocations: view.node.revocations.all() })
}

async fn drain(State(view): State<SharedView>) -> Json<Status> {
    view.drain();
    tracing::info!("draining by the admin API: new allocations are refused");
    Json(view.status())
}

async fn undrain(State(view): State<SharedView>) -> Result<Json<Status>, Problem> {
    view.undrain()?;
    tracing::info!("no longer draining: new allocations are made again");
    Ok(Json(view.status()))
}

async fn reload(State(view): State<SharedView>) -> Result<Json<Reloaded>, Problem> {
    let nobody = || {
        Problem::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "no_reload",
            "Nobody reads the configuration of this relay again",
        )
    };
    view.upkeep.reload().await.map(Json).ok_or_else(nobody)
}

type Body<T> = Result<Json<T>, JsonRejection>;

/// Problem details (RFC 9457).
struct Problem {
    status: StatusCode,
    code: &'static str,
    title: &'static str,
    detail: Option<String>,
}

#[derive(Serialize)]
struct ProblemBody {
    title: &'static str,
    status: u16,
    code: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<String>,
}

impl Problem {
    fn new(status: StatusCode, code: &'static str, title: &'static str) -> Self {
        Self { status, code, title, detail: None }
    }
}

impl From<Busy> for Problem {
    fn from(_: Busy) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "shard_busy", "A shard did not answer in time")
    }
}

impl From<Leaving> for Problem {
    fn from(_: Leaving) -> Self {
        Self::new(StatusCode::CONFLICT, "leaving", "The relay drains because it is being stopped")
    }
}

impl From<QueryRejection> for Problem {
    fn from(rejection: QueryRejection) -> Self {
        let detail = Some(rejection.body_text());
        Self {
            detail,
            ..Self::new(rejection.status(), "bad_request", "The query is not what this endpoint takes")
        }
    }
}

impl From<JsonRejection> for Problem {
    fn from(rejection: JsonRejection) -> Self {
        let detail = Some(rejection.body_text());
        Self {
            detail,
            ..Self::new(rejection.status(), "bad_request", "The body is not what this endpoint takes")
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let Self { status, code, title, detail } = self;
        let body = ProblemBody { title, status: status.as_u16(), code, detail };
        (status, [(CONTENT_TYPE, "application/problem+json")], Json(body)).into_response()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_stale_socket_is_replaced_and_a_live_one_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("run/relay.sock");
        let (listener, guard) = bind(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o660);
        assert!(matches!(bind(&path), Err(StartError::AdminInUse { .. })));
        drop(listener);
        std::mem::forget(guard);
        assert!(path.exists(), "left behind as by a killed process");
        let (_listener, guard) = bind(&path).unwrap();
        drop(guard);
        assert!(!path.exists());
    }

    #[tokio::test]
    async fn a_file_that_is_no_socket_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notes.txt");
        fs::write(&path, "precious").unwrap();
        assert!(matches!(bind(&path), Err(StartError::Admin { .. })));
        assert_eq!(fs::read_to_string(&path).unwrap(), "precious");
    }
}
