//! A server of the test's own.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
};

use serde_json::Value;
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::TcpStream,
    task::JoinHandle,
    time::timeout,
};
use tokio_util::sync::{CancellationToken, DropGuard};
use turnpike_signaling::Signaling;

use crate::session::{Client, Lost, SOON};

pub const SECRET: &[u8] = b"a secret of thirty-two bytes or more";
pub const KEY: &str = "an-api-key-of-thirty-two-bytes-or-more";
pub const ADMIN_KEY: &str = "an-admin-key-of-thirty-two-bytes-or-more";

pub struct Server {
    pub address: String,
    pub internal: Option<PathBuf>,
    metrics: Option<SocketAddr>,
    stop: DropGuard,
    serving: JoinHandle<()>,
    config: turnpike_config::Config,
    folder: tempfile::TempDir,
}

impl Server {
    pub async fn start() -> Self {
        Self::start_as(|_, _| {}).await
    }

    /// Starts with the configuration that `change` makes of the usual one and of the server's folder.
    pub async fn start_as(change: impl FnOnce(&mut turnpike_config::Config, &Path)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("turnpike.toml");
        std::fs::write(folder.path().join("secret"), SECRET).unwrap();
        std::fs::write(folder.path().join("keys"), KEY).unwrap();
        std::fs::write(folder.path().join("admin-keys"), ADMIN_KEY).unwrap();
        let at = folder.path().display();
        let text = format!(
            r#"
            [node]
            public_ipv4 = "127.0.0.1"
            allow_private_address = true
            state_dir = "{at}"
            [auth]
            secret_file = "{at}/secret"
            api_keys_file = "{at}/keys"
            admin_keys_file = "{at}/admin-keys"
            [relay]
            drain_timeout = "0s"
            [ice]
            urls = ["stun:198.18.0.1:3478", "turn:198.18.0.1:3478?transport=udp"]
            [signaling]
            listen = ["127.0.0.1:65535"]
            accept_within = "1s"
            [metrics]
            relay_listen = ""
            signaling_listen = ""
            "#
        );
        std::fs::write(&file, text).unwrap();
        let request = turnpike_config::Request {
            file: Some(file),
            this_machine: false,
            missing_secret: turnpike_config::MissingSecret::Refuse,
        };
        let loaded = turnpike_config::load(&request, &turnpike_config::Host::detect());
        let mut config = loaded.unwrap_or_else(|error| panic!("{error}")).config;
        config.signaling.listen = vec!["127.0.0.1:0".parse().unwrap()];
        change(&mut config, folder.path());
        Self::run(config, folder).await
    }

    /// Stops it and starts another on the same folder, after `between` has had its way with it.
    pub async fn restart(self, between: impl FnOnce(&Path)) -> Self {
        let Self { stop, serving, config, folder, .. } = self;
        drop(stop);
        timeout(SOON, serving).await.expect("it stops").unwrap();
        between(folder.path());
        Self::run(config, folder).await
    }

    /// Stops it for good.
    pub async fn stop(self) {
        drop(self.stop);
        timeout(SOON, self.serving).await.expect("it stops").unwrap();
    }

    async fn run(config: turnpike_config::Config, folder: tempfile::TempDir) -> Self {
        let signaling = Signaling::bind(&config).await.unwrap();
        let address = signaling.listening().http[0].to_string();
        let (internal, metrics) = (signaling.listening().internal.clone(), signaling.listening().metrics);
        let stop = CancellationToken::new();
        let serving = tokio::spawn(signaling.serve(CancellationToken::new(), stop.clone()));
        Self { address, internal, metrics, stop: stop.drop_guard(), serving, config, folder }
    }

    /// The text of its metrics.
    pub async fn metrics(&self) -> String {
        let mut stream = TcpStream::connect(self.metrics.unwrap()).await.unwrap();
        stream.write_all(b"GET /metrics HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").await.unwrap();
        let mut answer = String::new();
        timeout(SOON, stream.read_to_string(&mut answer)).await.unwrap().unwrap();
        answer
    }

    pub async fn connect(&self) -> Client {
        Client::connect(&self.address).await
    }

    /// Another socket goes on with a session.
    pub async fn resume(&self, lost: &Lost) -> (Client, Value) {
        Client::take_over(&self.address, lost).await
    }
}

/// One request; its status and its JSON.
pub async fn http(server: &Server, method: &str, path: &str, headers: &[&str], body: &str) -> (u16, Value) {
    let stream = TcpStream::connect(&server.address).await.unwrap();
    http_over(stream, &server.address, method, path, headers, body).await
}

/// The same over a connection of the caller's, to the host of this name.
pub async fn http_over(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    host: &str,
    method: &str,
    path: &str,
    headers: &[&str],
    body: &str,
) -> (u16, Value) {
    let mut request = format!("{method} {path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n");
    for header in headers {
        request.push_str(&format!("{header}\r\n"));
    }
    request.push_str(&format!("content-length: {}\r\n\r\n{body}", body.len()));
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    timeout(SOON, stream.read_to_string(&mut answer)).await.unwrap().unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, serde_json::from_str(body).unwrap_or(Value::Null))
}
