//! The certificate in its files: read, and checked for what would make every client turn away.

use std::{
    fmt, fs, io,
    path::{Path, PathBuf},
    time::SystemTime,
};

use rustls::{
    Error as TlsError,
    client::verify_server_name,
    crypto::{CryptoProvider, ring},
    pki_types::{
        CertificateDer, PrivateKeyDer, ServerName,
        pem::{self, PemObject as _},
    },
    server::ParsedCertificate,
    sign::CertifiedKey,
};
use x509_parser::{
    extensions::GeneralName,
    prelude::{ASN1Time, FromDer as _, X509Certificate},
};

/// A certificate that expires sooner is told of. Those of Let's Encrypt are renewed 30 days before.
const SOON: u64 = 14 * 86_400;

/// What the certificate of the node is good for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Certificate {
    names: Vec<String>,
    /// Seconds of Unix time.
    not_before: u64,
    /// The same.
    not_after: u64,
    file: PathBuf,
}

impl Certificate {
    /// When it expires, in seconds of Unix time.
    pub fn not_after(&self) -> u64 {
        self.not_after
    }

    /// When it is to be renewed, in seconds of Unix time: with a third of its life left.
    pub(super) fn renew_at(&self) -> u64 {
        self.not_after - self.not_after.saturating_sub(self.not_before) / 3
    }

    /// Whether it expires within 14 days.
    pub fn expires_soon(&self) -> bool {
        self.not_after < unix_now() + SOON
    }

    pub(super) fn warn_of_expiry(&self) {
        if self.expires_soon() {
            tracing::warn!(
                code = "certificate_expires",
                "the TLS certificate in {} expires on {}: renew it, as `certbot renew` does; the new one is taken \
                 without a restart",
                self.file.display(),
                date(self.not_after)
            );
        }
    }
}

impl fmt::Display for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "for {} until {}", listed(&self.names), date(self.not_after))
    }
}

/// Why a certificate cannot be used: one sentence that says what to do.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// A file cannot be read.
    #[error(
        "the TLS file {path} cannot be read ({source}): write the path of an existing one in {key}, and let the user \
         that runs turnpike read it",
        path = path.display()
    )]
    Unreadable {
        /// The key of the configuration that names it.
        key: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// A file is no PEM, or holds something else.
    #[error(
        "{path} holds no {what} in PEM: {key} names a file with a block that begins with -----BEGIN {begin}-----",
        path = path.display()
    )]
    NotPem {
        /// The key of the configuration that names it.
        key: &'static str,
        /// The file.
        path: PathBuf,
        /// What it should hold.
        what: &'static str,
        /// How PEM calls that.
        begin: &'static str,
    },
    /// The certificate is none, or a key of a kind that TLS here does not know.
    #[error(
        "the TLS certificate in {certificate} with the key in {key} cannot be used ({reason}): make a new pair, with an \
         ECDSA P-256 or an RSA key",
        certificate = certificate.display(),
        key = key.display()
    )]
    Unusable {
        /// The certificate's file.
        certificate: PathBuf,
        /// The key's file.
        key: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// Certificate and key are not of one pair.
    #[error(
        "the key in {key} does not belong to the first certificate in {certificate}: write in tls.cert_file and \
         tls.key_file two files that were made together, the node's own certificate before those of its chain",
        certificate = certificate.display(),
        key = key.display()
    )]
    Mismatch {
        /// The certificate's file.
        certificate: PathBuf,
        /// The key's file.
        key: PathBuf,
    },
    /// The certificate's time is over.
    #[error(
        "the TLS certificate in {path} expired on {since}, and every client would turn away: renew it, as `certbot \
         renew` does, or set tls.mode to \"off\"",
        path = path.display()
    )]
    Expired {
        /// The certificate's file.
        path: PathBuf,
        /// The day.
        since: String,
    },
    /// The certificate's time has not come.
    #[error(
        "the TLS certificate in {path} is good from {from} on, and this machine's clock is before that: set the clock \
         right, or get a certificate that is good today",
        path = path.display()
    )]
    NotYetValid {
        /// The certificate's file.
        path: PathBuf,
        /// The day.
        from: String,
    },
    /// The certificate is for other names.
    #[error(
        "the TLS certificate in {path} is for {names}, not for {domain}, which node.domain says: get one for that \
         name, or set node.domain to a name that it covers",
        path = path.display()
    )]
    WrongName {
        /// The certificate's file.
        path: PathBuf,
        /// What it is for.
        names: String,
        /// What the node is called.
        domain: String,
    },
    /// There is no randomness for session tickets.
    #[error("cannot start TLS: {0}")]
    Tickets(TlsError),
}

/// Reads the certificate and its key, and says what it is good for.
///
/// # Errors
/// Why a relay would not start with them, and what to do.
pub fn check_certificate(
    files: &turnpike_config::Tls,
    domain: Option<&str>,
) -> Result<Certificate, CertificateError> {
    read(files, domain, &ring::default_provider()).map(|(certificate, _)| certificate)
}

pub(super) fn read(
    files: &turnpike_config::Tls,
    domain: Option<&str>,
    provider: &CryptoProvider,
) -> Result<(Certificate, CertifiedKey), CertificateError> {
    let chain = read_chain(&files.cert_file)?;
    let key = read_key(&files.key_file)?;
    let certificate = inspect(&chain[0], files, domain)?;
    let key = CertifiedKey::from_der(chain, key, provider).map_err(|error| match error {
        TlsError::InconsistentKeys(_) => {
            CertificateError::Mismatch { certificate: files.cert_file.clone(), key: files.key_file.clone() }
        }
        other => unusable(files, other),
    })?;
    Ok((certificate, key))
}

/// Never empty.
fn read_chain(path: &Path) -> Result<Vec<CertificateDer<'static>>, CertificateError> {
    let key = "tls.cert_file";
    let text = read_file(key, path)?;
    let chain: Result<Vec<_>, pem::Error> = CertificateDer::pem_slice_iter(&text).collect();
    chain.ok().filter(|chain| !chain.is_empty()).ok_or_else(|| CertificateError::NotPem {
        key,
        path: path.to_owned(),
        what: "certificate",
        begin: "CERTIFICATE",
    })
}

fn read_key(path: &Path) -> Result<PrivateKeyDer<'static>, CertificateError> {
    let key = "tls.key_file";
    PrivateKeyDer::from_pem_slice(&read_file(key, path)?).map_err(|_| CertificateError::NotPem {
        key,
        path: path.to_owned(),
        what: "private key without a passphrase",
        begin: "PRIVATE KEY",
    })
}

fn read_file(key: &'static str, path: &Path) -> Result<zeroize::Zeroizing<Vec<u8>>, CertificateError> {
    let read = fs::read(path).map(zeroize::Zeroizing::new);
    read.map_err(|source| CertificateError::Unreadable { key, path: path.to_owned(), source })
}

fn inspect(
    own: &CertificateDer<'_>,
    files: &turnpike_config::Tls,
    domain: Option<&str>,
) -> Result<Certificate, CertificateError> {
    let (_, parsed) = X509Certificate::from_der(own).map_err(|error| unusable(files, error))?;
    let alternative = parsed.subject_alternative_name().map_err(|error| unusable(files, error))?;
    let names = alternative.map_or(&[][..], |names| &names.value.general_names);
    let names = names.iter().filter_map(|name| match name {
        GeneralName::DNSName(name) => Some((*name).to_owned()),
        GeneralName::IPAddress(octets) => address(octets),
        _ => None,
    });
    let certificate = Certificate {
        names: names.collect(),
        not_before: u64::try_from(parsed.validity().not_before.timestamp()).unwrap_or(0),
        not_after: u64::try_from(parsed.validity().not_after.timestamp()).unwrap_or(0),
        file: files.cert_file.clone(),
    };
    check_time(&parsed, files)?;
    if let Some(domain) = domain {
        check_name(own, &certificate, files, domain)?;
    }
    Ok(certificate)
}

fn check_time(parsed: &X509Certificate<'_>, files: &turnpike_config::Tls) -> Result<(), CertificateError> {
    let (validity, path) = (parsed.validity(), files.cert_file.clone());
    let now = ASN1Time::now();
    let day = |time: ASN1Time| time.to_datetime().date().to_string();
    match () {
        () if validity.not_after < now => {
            Err(CertificateError::Expired { path, since: day(validity.not_after) })
        }
        () if now < validity.not_before => {
            Err(CertificateError::NotYetValid { path, from: day(validity.not_before) })
        }
        () => Ok(()),
    }
}

fn check_name(
    own: &CertificateDer<'_>,
    certificate: &Certificate,
    files: &turnpike_config::Tls,
    domain: &str,
) -> Result<(), CertificateError> {
    let parsed = ParsedCertificate::try_from(own).map_err(|error| unusable(files, error))?;
    let name = ServerName::try_from(domain).map_err(|error| unusable(files, error))?;
    verify_server_name(&parsed, &name).map_err(|_| CertificateError::WrongName {
        path: files.cert_file.clone(),
        names: listed(&certificate.names),
        domain: domain.to_owned(),
    })
}

fn unusable(files: &turnpike_config::Tls, reason: impl fmt::Display) -> CertificateError {
    CertificateError::Unusable {
        certificate: files.cert_file.clone(),
        key: files.key_file.clone(),
        reason: reason.to_string(),
    }
}

fn address(octets: &[u8]) -> Option<String> {
    let v4 = <[u8; 4]>::try_from(octets).map(|octets| std::net::IpAddr::from(octets).to_string());
    let v6 = <[u8; 16]>::try_from(octets).map(|octets| std::net::IpAddr::from(octets).to_string());
    v4.or(v6).ok()
}

fn listed(names: &[String]) -> String {
    match names {
        [] => "no name at all".to_owned(),
        names => names.join(", "),
    }
}

/// The day in UTC.
fn date(unix: u64) -> String {
    let time = i64::try_from(unix).ok().and_then(|unix| ASN1Time::from_timestamp(unix).ok());
    time.map_or_else(|| "an unknown day".to_owned(), |time| time.to_datetime().date().to_string())
}

pub(super) fn unix_now() -> u64 {
    SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default().as_secs()
}
