//! HTTP/1.1, as much of it as a test takes.

use std::{net::SocketAddr, path::Path};

use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::{TcpStream, UnixStream},
};

/// An answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Answer {
    /// The body of a 200.
    pub(crate) fn ok(self) -> String {
        assert_eq!(self.status, 200, "{self:?}");
        self.body
    }
}

pub(crate) async fn get_unix(socket: &Path, path: &str) -> Answer {
    get(UnixStream::connect(socket).await.unwrap(), path).await
}

pub(crate) async fn post_unix(socket: &Path, path: &str, body: &str) -> Answer {
    let head = format!("Content-Type: application/json\r\nContent-Length: {}\r\n", body.len());
    exchange(UnixStream::connect(socket).await.unwrap(), "POST", path, &head, body).await
}

pub(crate) async fn get_tcp(address: SocketAddr, path: &str) -> Answer {
    get(TcpStream::connect(address).await.unwrap(), path).await
}

async fn get(stream: impl AsyncRead + AsyncWrite + Unpin, path: &str) -> Answer {
    exchange(stream, "GET", path, "", "").await
}

async fn exchange(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    method: &str,
    path: &str,
    headers: &str,
    body: &str,
) -> Answer {
    let request =
        format!("{method} {path} HTTP/1.1\r\nHost: relay\r\n{headers}Connection: close\r\n\r\n{body}");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(!head.to_ascii_lowercase().contains("transfer-encoding"), "{head}");
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    Answer { status, head: head.to_ascii_lowercase(), body: body.to_owned() }
}
