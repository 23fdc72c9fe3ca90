//! Watches this node's own relay over its admin socket: credentials of a relay that is away help nobody.

use std::{io, path::Path, time::Duration};

use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::{Request, StatusCode, body::Bytes, client::conn::http1};
use hyper_util::rt::TokioIo;
use tokio::{net::UnixStream, time::timeout};
use tokio_util::sync::CancellationToken;
use turnpike_relay_api::admin::{STATUS, Status};

use crate::ice::RelayUp;

const EVERY: Duration = Duration::from_secs(2);
const WITHIN: Duration = Duration::from_secs(2);
/// A relay that starts beside signaling gets this long before it is missed.
const GRACE: Duration = Duration::from_secs(3);
const MAX_ANSWER: usize = 64 * 1024;

/// Asks the relay every two seconds until stopped.
pub(crate) async fn watch(socket: &Path, up: RelayUp, stop: CancellationToken) {
    let watching = async {
        let started = tokio::time::Instant::now();
        let mut answered = false;
        loop {
            let well = match timeout(WITHIN, ask(socket)).await {
                Ok(Ok(status)) => Ok(!status.draining),
                Ok(Err(error)) => Err(error.to_string()),
                Err(_) => Err(format!("no answer within {} s", WITHIN.as_secs())),
            };
            answered |= well.is_ok();
            let early = !answered && started.elapsed() < GRACE;
            if !early {
                tell(&up, well, socket);
            }
            tokio::time::sleep(if early { Duration::from_millis(100) } else { EVERY }).await;
        }
    };
    stop.run_until_cancelled(watching).await;
}

fn tell(up: &RelayUp, well: Result<bool, String>, socket: &Path) {
    let (now, why) = match well {
        Ok(true) => (true, String::new()),
        Ok(false) => (false, "it is draining".to_owned()),
        Err(error) => (false, error),
    };
    match (up.set(now), now) {
        (true, false) => tracing::warn!(
            code = "relay_unavailable",
            socket = %socket.display(),
            why,
            "the relay cannot be used: callers get no TURN server until it answers; see `systemctl status \
             turnpike-relay`, and that relay.admin_socket is the same for both services"
        ),
        (false, true) => tracing::info!("the relay answers: callers get TURN credentials again"),
        _ => {}
    }
}

async fn ask(socket: &Path) -> io::Result<Status> {
    let stream = UnixStream::connect(socket).await?;
    let (mut sender, connection) =
        http1::handshake::<_, Empty<Bytes>>(TokioIo::new(stream)).await.map_err(io::Error::other)?;
    let exchange = async {
        let request = Request::get(STATUS)
            .header(hyper::header::HOST, "relay")
            .body(Empty::new())
            .expect("the request is well-formed");
        let answer = sender.send_request(request).await.map_err(io::Error::other)?;
        if answer.status() != StatusCode::OK {
            return Err(io::Error::other(format!("it answers {}", answer.status())));
        }
        let body = Limited::new(answer.into_body(), MAX_ANSWER).collect().await.map_err(io::Error::other)?;
        serde_json::from_slice(&body.to_bytes()).map_err(io::Error::other)
    };
    tokio::select! {
        status = exchange => status,
        ended = connection => Err(ended.err().map_or_else(|| io::ErrorKind::UnexpectedEof.into(), io::Error::other)),
    }
}
