//! One exchange with the relay of this host, over its admin socket.

use std::{io, time::Duration};

use anyhow::{Context as _, bail};
use http_body_util::Full;
use hyper::{Method, Request, body::Bytes, header};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use tokio::net::UnixStream;
use turnpike_config::MissingSecret;

use crate::{commands::ConfigFile, exit::Unreachable, http};

/// Longer than a relay takes that writes its ledger to a slow disk.
const WITHIN: Duration = Duration::from_secs(30);

/// The way to the relay of a configuration.
pub(crate) struct RelayAdmin {
    runtime: tokio::runtime::Runtime,
    socket: std::path::PathBuf,
}

/// What a refusal says (RFC 9457).
#[derive(Deserialize)]
struct Problem {
    title: String,
    detail: Option<String>,
}

impl RelayAdmin {
    /// # Errors
    /// What is wrong with the configuration.
    pub(crate) fn of(file: &ConfigFile) -> anyhow::Result<Self> {
        let socket = file.load(MissingSecret::StandIn, false)?.config.relay.admin_socket;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        Ok(Self { runtime, socket })
    }

    /// The text at a path.
    ///
    /// # Errors
    /// [`Unreachable`], or what the relay refuses.
    pub(crate) fn text(&self, path: &str) -> anyhow::Result<String> {
        self.exchange(Method::GET, path, Bytes::new())
    }

    /// The object at a path.
    ///
    /// # Errors
    /// As [`Self::text`].
    pub(crate) fn get<T: DeserializeOwned>(&self, path: &str) -> anyhow::Result<T> {
        serde_json::from_str(&self.text(path)?)
            .context("the relay's answer cannot be read: is it of another version?")
    }

    /// Asks for something to be done.
    ///
    /// # Errors
    /// As [`Self::text`].
    pub(crate) fn post<T: DeserializeOwned>(&self, path: &str, body: &impl Serialize) -> anyhow::Result<T> {
        let text = self.exchange(Method::POST, path, serde_json::to_vec(body)?.into())?;
        serde_json::from_str(&text).context("the relay's answer cannot be read: is it of another version?")
    }

    fn exchange(&self, method: Method, path: &str, body: Bytes) -> anyhow::Result<String> {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, "relay")
            .header(header::CONTENT_TYPE, "application/json")
            .body(Full::new(body))?;
        let late =
            io::Error::new(io::ErrorKind::TimedOut, format!("no answer within {} s", WITHIN.as_secs()));
        let sent = async { http::send(UnixStream::connect(&self.socket).await?, request).await };
        let exchange = async { tokio::time::timeout(WITHIN, sent).await.unwrap_or(Err(late)) };
        let http::Answer { status, body } = self
            .runtime
            .block_on(exchange)
            .map_err(|source| Unreachable { path: self.socket.clone(), source })?;
        if status.is_success() {
            return Ok(body);
        }
        match serde_json::from_str(&body) {
            Ok(Problem { title, detail: Some(detail) }) => bail!("the relay refuses: {title} ({detail})"),
            Ok(Problem { title, detail: None }) => bail!("the relay refuses: {title}"),
            Err(_) => bail!("the relay refuses with {status}"),
        }
    }
}
