//! One exchange with this node's own relay, over its admin socket.

use std::{io, path::Path, time::Duration};

use http_body_util::{BodyExt as _, Full, Limited};
use hyper::{Method, Request, StatusCode, body::Bytes, client::conn::http1, header};
use hyper_util::rt::TokioIo;
use serde::{Serialize, de::DeserializeOwned};
use tokio::{net::UnixStream, time::timeout};

const WITHIN: Duration = Duration::from_secs(2);
const MAX_ANSWER: usize = 64 * 1024;

/// Why there is no answer to use.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// It does not answer, or not as a relay does.
    #[error("{0}")]
    Away(#[from] io::Error),
    /// It answers that it will not.
    #[error("it answers {0}")]
    Refused(StatusCode),
}

/// Asks for something.
///
/// # Errors
/// [`Failure`].
pub(crate) async fn get<T: DeserializeOwned>(socket: &Path, path: &str) -> Result<T, Failure> {
    exchange(socket, Method::GET, path, Bytes::new()).await
}

/// Tells something.
///
/// # Errors
/// [`Failure`].
pub(crate) async fn post<T: DeserializeOwned>(
    socket: &Path,
    path: &str,
    body: &impl Serialize,
) -> Result<T, Failure> {
    let body = serde_json::to_vec(body).map_err(io::Error::from)?;
    exchange(socket, Method::POST, path, body.into()).await
}

async fn exchange<T: DeserializeOwned>(
    socket: &Path,
    method: Method,
    path: &str,
    body: Bytes,
) -> Result<T, Failure> {
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header(header::HOST, "relay")
        .header(header::CONTENT_TYPE, "application/json")
        .body(Full::new(body))
        .expect("the request is well-formed");
    let late =
        |_| io::Error::new(io::ErrorKind::TimedOut, format!("no answer within {} s", WITHIN.as_secs()));
    timeout(WITHIN, send(socket, request)).await.map_err(late)?
}

async fn send<T: DeserializeOwned>(socket: &Path, request: Request<Full<Bytes>>) -> Result<T, Failure> {
    let stream = UnixStream::connect(socket).await?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(io::Error::other)?;
    let exchange = async {
        let answer = sender.send_request(request).await.map_err(io::Error::other)?;
        match answer.status() {
            StatusCode::OK => {}
            status if status.is_client_error() => return Err(Failure::Refused(status)),
            status => return Err(io::Error::other(format!("it answers {status}")).into()),
        }
        let body = Limited::new(answer.into_body(), MAX_ANSWER).collect().await.map_err(io::Error::other)?;
        Ok(serde_json::from_slice(&body.to_bytes()).map_err(io::Error::from)?)
    };
    tokio::select! {
        answer = exchange => answer,
        ended = connection => {
            Err(ended.err().map_or_else(|| io::ErrorKind::UnexpectedEof.into(), io::Error::other).into())
        }
    }
}
