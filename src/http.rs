//! One exchange over HTTP with a service of this machine.

use std::{io, net::SocketAddr, time::Duration};

use http_body_util::{BodyExt as _, Full};
use hyper::{Request, StatusCode, body::Bytes, client::conn::http1, header};
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
};

/// What came back.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) body: String,
}

/// Gets what is at a path; blocks.
///
/// # Errors
/// Of the connection, or that it took too long.
pub(crate) fn get(address: SocketAddr, path: &str, within: Duration) -> io::Result<Answer> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let request = Request::get(path).header(header::HOST, "localhost").body(Full::default());
    let request = request.map_err(io::Error::other)?;
    let exchange = async { send(TcpStream::connect(address).await?, request).await };
    let late = || io::Error::new(io::ErrorKind::TimedOut, format!("no answer within {} s", within.as_secs()));
    runtime.block_on(async { tokio::time::timeout(within, exchange).await.unwrap_or_else(|_| Err(late())) })
}

/// Sends a request over a connection of its own.
///
/// # Errors
/// Of the connection, or what is no HTTP.
pub(crate) async fn send(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    request: Request<Full<Bytes>>,
) -> io::Result<Answer> {
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(io::Error::other)?;
    let exchange = async {
        let answer = sender.send_request(request).await.map_err(io::Error::other)?;
        let status = answer.status();
        let body = answer.into_body().collect().await.map_err(io::Error::other)?.to_bytes();
        Ok(Answer { status, body: String::from_utf8_lossy(&body).into_owned() })
    };
    let mut exchange = std::pin::pin!(exchange);
    tokio::select! {
        answer = &mut exchange => answer,
        // What came before the end is there still.
        ended = connection => exchange.await.map_err(|error| ended.err().map_or(error, io::Error::other)),
    }
}
