//! A certificate that the node gets and renews by itself (RFC 8555), by the challenge http-01.

mod account;
mod challenge;

use std::{
    fmt,
    fs::{self, File},
    io::{self, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::Path,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use instant_acme::{
    AuthorizationStatus, ChallengeType, Error, Identifier, NewOrder, Order, OrderStatus, RetryPolicy,
};
use turnpike_relay_api::admin::AcmeStatus;

use super::{Tls, certificate::unix_now};

pub(crate) use challenge::{Challenges, open, serve};

/// How long the authority may take for one step; most take seconds.
const STEP: RetryPolicy = RetryPolicy::new().timeout(Duration::from_secs(120));
/// How long after a failure it is tried again. An authority lets a name fail a few times an hour.
const AGAIN_AFTER: [Duration; 5] = [
    Duration::from_secs(60),
    Duration::from_secs(10 * 60),
    Duration::from_secs(60 * 60),
    Duration::from_secs(3 * 3_600),
    Duration::from_secs(6 * 3_600),
];
/// A clock that was set, or a machine that slept, is noticed within this time.
const LOOK_EVERY: Duration = Duration::from_secs(60);

/// Why there is no new certificate: one sentence that says what to do.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AcmeError {
    #[error("{what}: {}", told(source))]
    Authority { what: &'static str, source: Error },
    #[error("{what}: {source}")]
    File { what: &'static str, source: io::Error },
    #[error(
        "the authority could not ask {domain} over HTTP ({why}): make its DNS records lead here, and port 80 open from \
         everywhere"
    )]
    Refused { domain: String, why: String },
    #[error(
        "the authority offers no challenge http-01 for {domain}: take another directory, or certbot and [tls] mode \"files\""
    )]
    NoHttp { domain: String },
    #[error("the key in {path} is no base64url: write it as the authority has given it out")]
    ExternalKey { path: String },
    #[error("the certificate that came cannot be used: {0}")]
    Certificate(#[from] super::CertificateError),
}

/// What the authority says, with what lies behind it.
fn told(error: &Error) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(inner) = source {
        let inner_text = inner.to_string();
        if !text.contains(&inner_text) {
            text = format!("{text}: {inner_text}");
        }
        source = inner.source();
    }
    text
}

fn authority(what: &'static str) -> impl Fn(Error) -> AcmeError {
    move |source| AcmeError::Authority { what, source }
}

/// How it goes, for the status.
#[derive(Debug, Default)]
pub(crate) struct Progress(Mutex<AcmeStatus>);

impl Progress {
    pub(crate) fn status(&self) -> AcmeStatus {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set(&self, status: AcmeStatus) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = status;
    }
}

/// Keeps the certificate good, for ever.
pub(crate) async fn renew(tls: Arc<Tls>, config: turnpike_config::Acme, challenges: Arc<Challenges>) {
    let mut failures = 0_u32;
    let mut next = tls.renew_at();
    loop {
        let last = tls.progress.status();
        tls.progress.set(AcmeStatus { next_attempt: next, ..last });
        while unix_now() < next {
            let wait = Duration::from_secs(next - unix_now().min(next)).min(LOOK_EVERY);
            tokio::time::sleep(wait).await;
        }
        match obtain(&tls, &config, &challenges).await {
            Ok(()) => {
                failures = 0;
                next = tls.renew_at();
                tls.progress.set(AcmeStatus { next_attempt: next, ..AcmeStatus::default() });
            }
            Err(error) => {
                failures += 1;
                let place = (failures as usize - 1).min(AGAIN_AFTER.len() - 1);
                next = unix_now() + AGAIN_AFTER[place].as_secs();
                tracing::warn!(
                    code = "acme_failed",
                    failures,
                    again_in_seconds = AGAIN_AFTER[place].as_secs(),
                    "no certificate for {} by ACME: {error}",
                    config.domain
                );
                let last_error = Some(error.to_string());
                tls.progress.set(AcmeStatus { failures, last_error, next_attempt: next });
            }
        }
    }
}

async fn obtain(
    tls: &Arc<Tls>,
    config: &turnpike_config::Acme,
    challenges: &Challenges,
) -> Result<(), AcmeError> {
    tracing::info!(directory = config.directory, "asking for a certificate for {} by ACME", config.domain);
    let account = account::open(config).await?;
    let identifiers = [Identifier::Dns(config.domain.clone())];
    let order = account.new_order(&NewOrder::new(&identifiers)).await;
    let mut order = order.map_err(authority("the authority takes no order"))?;
    let offered = challenges.offer(&mut order, &config.domain).await;
    let issued = match offered {
        Ok(()) => finish(&mut order, &config.domain).await,
        Err(error) => Err(error),
    };
    challenges.withdraw();
    let (key, chain) = issued?;
    let files = [("privkey.pem", key.as_str()), ("fullchain.pem", &chain)];
    let written = files.iter().try_for_each(|(name, text)| write(&config.folder, name, text));
    written.map_err(|source| AcmeError::File { what: "the new certificate cannot be kept", source })?;
    let tls = Arc::clone(tls);
    let taken = tokio::task::spawn_blocking(move || tls.reload()).await;
    Ok(taken.expect("reading a certificate does not panic")?)
}

/// The key and the chain, once the authority has asked and is content.
async fn finish(order: &mut Order, domain: &str) -> Result<(String, String), AcmeError> {
    let ready = order.poll_ready(&STEP).await;
    let status = ready.map_err(authority("the authority does not make up its mind"))?;
    if status != OrderStatus::Ready {
        return Err(AcmeError::Refused { domain: domain.to_owned(), why: why_refused(order).await });
    }
    let key = order.finalize().await.map_err(authority("the authority refuses the request"))?;
    let chain = order.poll_certificate(&STEP).await.map_err(authority("no certificate comes"))?;
    Ok((key, chain))
}

/// What the authority met when it asked.
async fn why_refused(order: &mut Order) -> String {
    let mut authorizations = order.authorizations();
    while let Some(Ok(mut authorization)) = authorizations.next().await {
        let Ok(state) = authorization.refresh().await else { continue };
        if state.status == AuthorizationStatus::Invalid
            && let Some(problem) = state.challenges.iter().find_map(|challenge| challenge.error.as_ref())
        {
            return problem.detail.clone().unwrap_or_else(|| problem.to_string());
        }
    }
    "it does not say why".to_owned()
}

impl Challenges {
    /// Has what the authority will ask for ready, and says so.
    async fn offer(&self, order: &mut Order, domain: &str) -> Result<(), AcmeError> {
        let mut authorizations = order.authorizations();
        while let Some(authorization) = authorizations.next().await {
            let mut authorization =
                authorization.map_err(authority("the authority does not say what it asks"))?;
            if authorization.status == AuthorizationStatus::Valid {
                continue;
            }
            let mut challenge = authorization
                .challenge(ChallengeType::Http01)
                .ok_or_else(|| AcmeError::NoHttp { domain: domain.to_owned() })?;
            self.put(challenge.token.clone(), challenge.key_authorization().as_str().to_owned());
            challenge.set_ready().await.map_err(authority("the authority does not begin to ask"))?;
        }
        Ok(())
    }
}

/// Whole or not at all; for nobody but the relay.
fn write(folder: &Path, name: &str, text: &str) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    let draft = folder.join(format!("{name}.new"));
    let mut file = File::options().write(true).create(true).truncate(true).mode(0o600).open(&draft)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(draft, folder.join(name))
}

impl fmt::Debug for Challenges {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Challenges")
    }
}
