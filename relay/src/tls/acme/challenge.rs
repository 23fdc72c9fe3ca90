//! What the authority finds over plain HTTP (RFC 8555 §8.3); everything else there is sent on to HTTPS.

use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use axum::{
    Router,
    extract::{Path, State},
    http::{StatusCode, Uri, header},
    response::{IntoResponse, Response},
    routing::get,
};
use hyper::server::conn::http1;
use hyper_util::{rt::TokioIo, service::TowerToHyperService};
use socket2::{Domain, Socket, Type};
use tokio::{
    net::TcpListener,
    sync::Semaphore,
    time::{sleep, timeout},
};

use crate::StartError;

/// Most connections at once: nobody has business here for long.
const CONNECTIONS: usize = 256;
/// How long one may last.
const LASTING: Duration = Duration::from_secs(10);
/// How long nobody is let in after the kernel had no connection to give.
const ACCEPT_AGAIN: Duration = Duration::from_millis(100);

/// The answers of the order under way, by their tokens.
#[derive(Default)]
pub(crate) struct Challenges(Mutex<HashMap<String, String>>);

impl Challenges {
    pub(super) fn put(&self, token: String, answer: String) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(token, answer);
    }

    /// The order is over.
    pub(super) fn withdraw(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    fn get(&self, token: &str) -> Option<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(token).cloned()
    }
}

/// What requests are answered by.
#[derive(Clone)]
struct Door {
    challenges: Arc<Challenges>,
    /// `https://` and the name, with the port where it is another than 443.
    https: Arc<str>,
}

/// Opens a listener; `None` where the host lacks its family.
///
/// # Errors
/// When the port is taken, or may not be had.
pub(crate) fn open(address: SocketAddr) -> Result<Option<TcpListener>, StartError> {
    let opened = (|| {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
        socket.set_reuse_address(true)?;
        if address.is_ipv6() {
            socket.set_only_v6(true)?;
        }
        socket.set_nonblocking(true)?;
        socket.bind(&address.into())?;
        socket.listen(128)?;
        TcpListener::from_std(socket.into())
    })();
    match opened {
        Ok(listener) => Ok(Some(listener)),
        Err(error) if crate::is_skipped(address, &error) => Ok(None),
        Err(source) => Err(StartError::Acme { address, source }),
    }
}

/// Serves until the process ends.
pub(crate) async fn serve(listener: TcpListener, challenges: Arc<Challenges>, domain: &str, tls_port: u16) {
    let port = if tls_port == 443 { String::new() } else { format!(":{tls_port}") };
    let door = Door { challenges, https: format!("https://{domain}{port}").into() };
    let router = Router::new()
        .route("/.well-known/acme-challenge/{token}", get(answer))
        .fallback(redirect)
        .with_state(door);
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let place = Arc::clone(&places).acquire_owned().await.expect("nobody closes it");
        match listener.accept().await {
            Ok((stream, _)) => {
                let service = TowerToHyperService::new(router.clone());
                tokio::spawn(async move {
                    let served = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
                    // How strangers end is no concern of ours.
                    let _ = timeout(LASTING, served).await;
                    drop(place);
                });
            }
            Err(error) => {
                tracing::warn!(code = "accept_failed", %error, "a connection could not be accepted");
                sleep(ACCEPT_AGAIN).await;
            }
        }
    }
}

async fn answer(State(door): State<Door>, Path(token): Path<String>) -> Response {
    match door.challenges.get(&token) {
        Some(answer) => ([(header::CONTENT_TYPE, "application/octet-stream")], answer).into_response(),
        None => StatusCode::NOT_FOUND.into_response(),
    }
}

/// To the node's own name alone, whatever host the request names.
async fn redirect(State(door): State<Door>, uri: Uri) -> Response {
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    let location = format!("{}{path}", door.https);
    (StatusCode::PERMANENT_REDIRECT, [(header::LOCATION, location)]).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn door() -> Door {
        let challenges = Arc::new(Challenges::default());
        challenges.put("token".to_owned(), "token.thumbprint".to_owned());
        Door { challenges, https: "https://turn.example.org:8443".into() }
    }

    #[tokio::test]
    async fn the_authority_finds_its_token_while_the_order_lasts() {
        let door = door();
        let asked = |token: &str| answer(State(door.clone()), Path(token.to_owned()));
        assert_eq!(asked("token").await.status(), StatusCode::OK);
        assert_eq!(asked("another").await.status(), StatusCode::NOT_FOUND);
        door.challenges.withdraw();
        assert_eq!(asked("token").await.status(), StatusCode::NOT_FOUND);
    }

    #[tokio::test]
    async fn everybody_else_is_sent_to_the_nodes_own_name() {
        for (asked, location) in [
            ("/a/b?c=d", "https://turn.example.org:8443/a/b?c=d"),
            ("http://elsewhere.example/x", "https://turn.example.org:8443/x"),
            ("/", "https://turn.example.org:8443/"),
        ] {
            let answer = redirect(State(door()), asked.parse().unwrap()).await;
            assert_eq!(answer.status(), StatusCode::PERMANENT_REDIRECT);
            assert_eq!(answer.headers()[header::LOCATION], location, "{asked}");
        }
    }
}
