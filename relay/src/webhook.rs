//! Telling a web server of each change of the budget's step.
//!
//! The ledger's thread puts a change into a short queue and goes on; whoever serves does the talking, a few times if need
//! be. The URL may hold a token and is not logged.

use std::time::Duration;

use axum::http::{Method, Request, StatusCode, Uri, header::CONTENT_TYPE};
use http_body_util::Full;
use hyper::body::Bytes;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use rustls::{ClientConfig, RootCertStore, crypto::ring};
use tokio::sync::mpsc::{Receiver, Sender, channel};
use turnpike_config::Secret;
use turnpike_relay_api::cost::StepChange;

/// Changes that may wait: a period has three, and its end one.
const WAITING: usize = 8;
/// Between two tries.
const PAUSES: [Duration; 4] =
    [Duration::from_secs(1), Duration::from_secs(2), Duration::from_secs(5), Duration::from_secs(15)];
/// How long one may take.
const ANSWERED_WITHIN: Duration = Duration::from_secs(5);

/// The ledger's end.
pub(crate) struct Told(Sender<StepChange>);

/// The other end.
pub(crate) struct Webhook {
    url: Secret,
    changes: Receiver<StepChange>,
    pauses: [Duration; 4],
}

/// Why a try failed.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("TLS cannot be set up: {0}")]
    Tls(#[from] rustls::Error),
    #[error("its URL cannot be used")]
    Url,
    #[error("no answer within {} s", ANSWERED_WITHIN.as_secs())]
    Late,
    #[error("{0}")]
    Request(String),
    #[error("it answers {0}")]
    Answer(StatusCode),
}

/// A webhook and the way to it.
pub(crate) fn new(url: &Secret) -> (Told, Webhook) {
    let (sender, changes) = channel(WAITING);
    (Told(sender), Webhook { url: url.clone(), changes, pauses: PAUSES })
}

impl Told {
    /// Never waits: a change that finds no room is overtaken by those before it.
    pub(crate) fn tell(&self, change: StepChange) {
        if self.0.try_send(change).is_err() {
            tracing::debug!(
                "a change of the budget's step is not told: the webhook is busy with those before"
            );
        }
    }
}

impl Webhook {
    /// Tells of changes for as long as there may be any.
    pub(crate) async fn serve(mut self) {
        let mut is_failing = false;
        while let Some(change) = self.changes.recv().await {
            let told = self.tell(&change).await;
            match (told, is_failing) {
                (Ok(()), _) => {
                    is_failing = false;
                    tracing::info!(step = change.step.name(), "the budget's webhook is told of its step");
                }
                (Err(error), false) => {
                    is_failing = true;
                    tracing::warn!(
                        code = "webhook_failed",
                        step = change.step.name(),
                        %error,
                        tries = self.pauses.len() + 1,
                        "the budget's webhook could not be told of its step; what the budget does does not wait for it: \
                         see that budget.webhook is right and its server reachable from this machine"
                    );
                }
                (Err(_), true) => {}
            }
        }
    }

    async fn tell(&self, change: &StepChange) -> Result<(), Failure> {
        let body = Bytes::from(serde_json::to_vec(change).expect("a change has only text and numbers"));
        let mut told = self.post(body.clone()).await;
        for pause in self.pauses {
            if told.is_ok() {
                break;
            }
            tokio::time::sleep(pause).await;
            told = self.post(body.clone()).await;
        }
        told
    }

    async fn post(&self, body: Bytes) -> Result<(), Failure> {
        let url = Uri::try_from(self.url.expose()).map_err(|_| Failure::Url)?;
        let request = Request::builder()
            .method(Method::POST)
            .uri(url)
            .header(CONTENT_TYPE, "application/json")
            .body(Full::new(body))
            .map_err(|_| Failure::Url)?;
        let client = Client::builder(TokioExecutor::new()).build(connector()?);
        let answer = tokio::time::timeout(ANSWERED_WITHIN, client.request(request)).await;
        let answer =
            answer.map_err(|_| Failure::Late)?.map_err(|error| Failure::Request(told_in_full(&error)))?;
        match answer.status().is_success() {
            true => Ok(()),
            false => Err(Failure::Answer(answer.status())),
        }
    }
}

/// Trusts whom this machine trusts. Made anew for each request, of which there are a few in a month.
fn connector() -> Result<HttpsConnector<HttpConnector>, Failure> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    let config = ClientConfig::builder_with_provider(ring::default_provider().into())
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(HttpsConnectorBuilder::new().with_tls_config(config).https_or_http().enable_http1().build())
}

/// An error with those behind it.
fn told_in_full(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text = format!("{text}: {error}");
        source = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        net::TcpListener,
    };

    use super::*;

    fn impatient(url: &str) -> (Told, Webhook) {
        let (told, webhook) = new(&Secret::new(url));
        (told, Webhook { pauses: [Duration::ZERO; 4], ..webhook })
    }

    /// Answers each request with the next of these statuses, and gives the bodies.
    async fn answer(listener: TcpListener, statuses: &[u16]) -> Vec<StepChange> {
        let mut bodies = Vec::new();
        for status in statuses {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = Vec::new();
            let body = loop {
                stream.read_buf(&mut request).await.unwrap();
                let text = String::from_utf8_lossy(&request).into_owned();
                let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
                assert!(head.starts_with("POST /hooks/token HTTP/1.1\r\n"), "{head}");
                assert!(head.contains("content-type: application/json"), "{head}");
                if let Ok(body) = serde_json::from_str(body) {
                    break body;
                }
            };
            bodies.push(body);
            let answer = format!("HTTP/1.1 {status} x\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
        bodies
    }

    #[tokio::test]
    async fn a_change_is_told_again_until_it_is_taken_and_each_one_in_its_turn() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (told, webhook) = impatient(&format!("http://{}/hooks/token", listener.local_addr().unwrap()));
        let changes = [("warn", 0.8), ("stop", 1.0)].map(|(text, ratio)| StepChange {
            text: text.to_owned(),
            ratio,
            ..StepChange::default()
        });
        changes.iter().for_each(|change| told.tell(change.clone()));
        drop(told);
        let (bodies, ()) = tokio::join!(answer(listener, &[503, 500, 204, 200]), webhook.serve());
        let [warn, stop] = changes;
        assert_eq!(bodies, [warn.clone(), warn.clone(), warn, stop]);
    }

    #[tokio::test]
    async fn one_that_is_never_taken_is_given_up_and_does_not_hold_up_the_next() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (told, webhook) = impatient(&format!("http://{}/hooks/token", listener.local_addr().unwrap()));
        for text in ["one", "two"] {
            told.tell(StepChange { text: text.to_owned(), ..StepChange::default() });
        }
        drop(told);
        let (bodies, ()) = tokio::join!(answer(listener, &[500, 500, 500, 500, 500, 200]), webhook.serve());
        let texts: Vec<_> = bodies.iter().map(|change| change.text.as_str()).collect();
        assert_eq!(texts, ["one", "one", "one", "one", "one", "two"]);
    }

    #[test]
    fn whoever_tells_never_waits() {
        let (told, _webhook) = new(&Secret::new("http://127.0.0.1:9/"));
        (0..100).for_each(|_| told.tell(StepChange::default()));
    }

    #[tokio::test]
    async fn a_failure_says_why_and_not_where() {
        let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
        let (_told, webhook) = impatient(&format!("http://{closed}/hooks/token"));
        let failure = webhook.tell(&StepChange::default()).await.unwrap_err().to_string();
        assert!(failure.contains("refused") && !failure.contains("token"), "{failure}");
    }
}
