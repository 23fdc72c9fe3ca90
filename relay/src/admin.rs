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
    extract::State,
    http::{StatusCode, header::CONTENT_TYPE},
    response::{IntoResponse, Response},
    routing::get,
};
use serde::Serialize;
use socket2::{Domain, SockAddr, Socket, Type};
use tokio::net::UnixListener;
use turnpike_relay_api::admin::{SESSIONS, STATUS, Sessions, Status};

use crate::{
    StartError,
    view::{Busy, SharedView},
};

/// The endpoints.
pub(crate) fn router(view: SharedView) -> Router {
    Router::new()
        .route(STATUS, get(status))
        .route(SESSIONS, get(sessions))
        .fallback(async || Problem {
            status: StatusCode::NOT_FOUND,
            code: "not_found",
            title: "No such endpoint",
        })
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
    view.sessions().await.map(Json).map_err(|Busy| Problem {
        status: StatusCode::SERVICE_UNAVAILABLE,
        code: "shard_busy",
        title: "A shard did not answer in time",
    })
}

/// Problem details (RFC 9457).
struct Problem {
    status: StatusCode,
    code: &'static str,
    title: &'static str,
}

#[derive(Serialize)]
struct ProblemBody {
    title: &'static str,
    status: u16,
    code: &'static str,
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let body = ProblemBody { title: self.title, status: self.status.as_u16(), code: self.code };
        (self.status, [(CONTENT_TYPE, "application/problem+json")], Json(body)).into_response()
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
