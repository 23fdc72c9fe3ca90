//! TLS of the node: one certificate for TURN and HTTPS, read from files and read anew when they change.

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
    server::ProducesTickets,
    sign::SingleCertAndKey,
    version::{TLS12, TLS13},
};
use tokio::time::MissedTickBehavior;

pub use self::certificate::{Certificate, CertificateError, check_certificate};
use self::watch::{Stamps, Watch};

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
}

struct InUse {
    config: Arc<ServerConfig>,
    certificate: Certificate,
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
        let in_use = read(files, domain, &provider, &tickets)?;
        in_use.certificate.warn_of_expiry();
        Ok(Self {
            files: files.clone(),
            domain: domain.map(str::to_owned),
            provider,
            tickets,
            in_use: ArcSwap::from_pointee(in_use),
            loaded,
            reloaded: AtomicBool::new(true),
        })
    }

    /// What a new connection is served with.
    pub(crate) fn current(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.in_use.load().config)
    }

    /// When the certificate in use expires, in seconds of Unix time.
    pub(crate) fn not_after(&self) -> u64 {
        self.in_use.load().certificate.not_after()
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
        self.in_use.store(Arc::clone(&in_use));
        tracing::info!("new TLS certificate taken: {}", in_use.certificate);
        in_use.certificate.warn_of_expiry();
        Ok(())
    }

    fn warn_of_expiry(&self) {
        self.in_use.load().certificate.warn_of_expiry();
    }
}

fn read(
    files: &turnpike_config::Tls,
    domain: Option<&str>,
    provider: &Arc<CryptoProvider>,
    tickets: &Arc<dyn ProducesTickets>,
) -> Result<InUse, CertificateError> {
    let (certificate, key) = certificate::read(files, domain, provider)?;
    let mut config = ServerConfig::builder_with_provider(Arc::clone(provider))
        .with_protocol_versions(&[&TLS13, &TLS12])
        .expect("ring has suites for both versions")
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(SingleCertAndKey::from(key)));
    config.alpn_protocols = ALPN.map(<[u8]>::to_vec).into();
    config.ticketer = Arc::clone(tickets);
    Ok(InUse { config: Arc::new(config), certificate, since: certificate::unix_now() })
}

#[cfg(test)]
pub(crate) mod files;
#[cfg(test)]
mod tests;
