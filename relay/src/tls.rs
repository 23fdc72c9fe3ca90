//! TLS of the node: one certificate for TURN and HTTPS, read from files and read anew when they change.

pub(crate) mod acme;
mod certificate;
mod watch;

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use arc_swap::ArcSwap;
use rustls::{
    ServerConfig,
    crypto::{CryptoProvider, ring},
    server::{ClientHello, ProducesTickets, ResolvesServerCert},
    sign::{CertifiedKey, SingleCertAndKey},
    version::{TLS12, TLS13},
};
use tokio::time::MissedTickBehavior;
use turnpike_relay_api::admin::CertificateStatus;

pub use self::certificate::{Certificate, CertificateError, check_certificate};
use self::{
    acme::Progress,
    watch::{Stamps, Watch},
};

/// TURN over TLS (RFC 7443 §6) and HTTP/1.1: a client that speaks TURN says so, and so does a browser.
const ALPN: [&[u8]; 2] = [b"stun.turn", b"http/1.1"];
/// How often the files are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// The node's TLS as handshakes need it, always with the last certificate that could be used.
pub(crate) struct Tls {
    files: turnpike_config::Tls,
    domain: Option<String>,
    provider: Arc<CryptoProvider>,
    /// Kept across certificates, so that clients resume their sessions.
    tickets: Arc<dyn ProducesTickets>,
    in_use: ArcSwap<InUse>,
    /// The state of the files when they were loaded.
    loaded: Stamps,
    /// Whether the files hold what is in use.
    reloaded: AtomicBool,
    /// How the next certificate is got, where this node does that itself.
    progress: Progress,
}

struct InUse {
    config: Arc<ServerConfig>,
    /// Absent until the first one has come by ACME: no handshake succeeds until then.
    certificate: Option<Certificate>,
    /// The certificate itself, empty until then.
    own: Vec<u8>,
    /// Seconds of Unix time.
    since: u64,
}

impl Tls {
    /// Reads the certificate and its key.
    ///
    /// # Errors
    /// Why they cannot be used, and what to do.
    pub(crate) fn load(files: &turnpike_config::Tls, domain: Option<&str>) -> Result<Self, CertificateError> {
        let loaded = watch::stamps(files);
        let provider = Arc::new(ring::default_provider());
        let tickets = ring::Ticketer::new().map_err(CertificateError::Tickets)?;
        let in_use = match read(files, domain, &provider, &tickets) {
            // What is not there, or is no longer good, is got anew.
            Err(error) if files.acme.is_some() => {
                match files.cert_file.exists() {
                    false => tracing::info!("there is no TLS certificate yet: one is got by ACME"),
                    true => {
                        tracing::warn!(code = "certificate_refused", "another one is got by ACME: {error}")
                    }
                }
                InUse {
                    config: server_config(&provider, &tickets, Arc::new(Nothing)),
                    certificate: None,
                    own: Vec::new(),
                    since: 0,
                }
            }
            read => read?,
        };
        let tls = Self {
            files: files.clone(),
            domain: domain.map(str::to_owned),
            provider,
            tickets,
            in_use: ArcSwap::from_pointee(in_use),
            loaded,
            reloaded: AtomicBool::new(true),
            progress: Progress::default(),
        };
        tls.warn_of_expiry();
        Ok(tls)
    }

    /// What a new connection is served with.
    pub(crate) fn current(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.in_use.load().config)
    }

    /// When the certificate in use expires, in seconds of Unix time; `None` while there is none.
    pub(crate) fn not_after(&self) -> Option<u64> {
        self.in_use.load().certificate.as_ref().map(Certificate::not_after)
    }

    /// How many times in a row ACME has failed; 0 where it is not used.
    pub(crate) fn acme_failures(&self) -> u32 {
        self.progress.status().failures
    }

    /// What the operator is told.
    pub(crate) fn status(&self) -> CertificateStatus {
        let acme = self.files.acme.as_ref().map(|_| self.progress.status());
        CertificateStatus { not_after: self.not_after(), acme }
    }

    /// When the certificate is to be renewed, in seconds of Unix time: with a third of its life left, or at once.
    fn renew_at(&self) -> u64 {
        self.in_use.load().certificate.as_ref().map_or(0, Certificate::renew_at)
    }

    /// Whether the files hold what is in use, and when that was read, in seconds of Unix time.
    pub(crate) fn last_reload(&self) -> (bool, u64) {
        (self.reloaded.load(Ordering::Relaxed), self.in_use.load().since)
    }

    /// Looks at the files every two seconds, for ever.
    pub(crate) async fn watch(self: Arc<Self>) {
        let mut watch = Watch::since(self.loaded);
        let mut ticks = tokio::time::interval(LOOK_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let tls = Arc::clone(&self);
            let looked = tokio::task::spawn_blocking(move || {
                watch.look(&tls);
                watch
            });
            watch = looked.await.expect("looking at files does not panic");
        }
    }

    /// Takes what the files hold now.
    ///
    /// # Errors
    /// Why it cannot be used; what is in use stays.
    fn reload(&self) -> Result<(), CertificateError> {
        let read = read(&self.files, self.domain.as_deref(), &self.provider, &self.tickets);
        self.reloaded.store(read.is_ok(), Ordering::Relaxed);
        let in_use = Arc::new(read?);
        let before = self.in_use.swap(Arc::clone(&in_use));
        // What ACME has brought is found in the files as well.
        if let Some(certificate) = in_use.certificate.as_ref().filter(|_| before.own != in_use.own) {
            tracing::info!("new TLS certificate taken: {certificate}");
        }
        self.warn_of_expiry();
        Ok(())
    }

    fn warn_of_expiry(&self) {
        // One that is renewed by ACME is told of when that fails.
        if self.files.acme.is_none() {
            self.in_use.load().certificate.iter().for_each(Certificate::warn_of_expiry);
        }
    }
}

fn read(
    files: &turnpike_config::Tls,
    domain: Option<&str>,
    provider: &Arc<CryptoProvider>,
    tickets: &Arc<dyn ProducesTickets>,
) -> Result<InUse, CertificateError> {
    let (certificate, key) = certificate::read(files, domain, provider)?;
    let own = key.cert[0].to_vec();
    let config = server_config(provider, tickets, Arc::new(SingleCertAndKey::from(key)));
    Ok(InUse { config, certificate: Some(certificate), own, since: certificate::unix_now() })
}

/// Turns every handshake away.
#[derive(Debug)]
struct Nothing;

impl ResolvesServerCert for Nothing {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        None
    }
}

fn server_config(
    provider: &Arc<CryptoProvider>,
    tickets: &Arc<dyn ProducesTickets>,
    certificates: Arc<dyn ResolvesServerCert>,
) -> Arc<ServerConfig> {
    let mut config = ServerConfig::builder_with_provider(Arc::clone(provider))
        .with_protocol_versions(&[&TLS13, &TLS12])
        .expect("ring has suites for both versions")
        .with_no_client_auth()
        .with_cert_resolver(certificates);
    config.alpn_protocols = ALPN.map(<[u8]>::to_vec).into();
    config.ticketer = Arc::clone(tickets);
    Arc::new(config)
}

#[cfg(test)]
pub(crate) mod files;
#[cfg(test)]
mod tests;
