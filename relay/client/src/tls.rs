//! TLS towards a server: a trusted one, or any.

use std::{io::BufRead, sync::Arc};

use rustls::{
    ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, ServerName, UnixTime, pem::PemObject as _},
};

use crate::Error;

/// ALPN of TURN over TLS (RFC 7443).
const ALPN: &[u8] = b"stun.turn";

/// How a server is checked, and the name it is called by.
#[derive(Debug, Clone)]
pub struct TlsClient {
    pub(crate) config: Arc<ClientConfig>,
    pub(crate) name: ServerName<'static>,
}

impl TlsClient {
    /// Trusts the certificates in a PEM file's text, and nothing else.
    ///
    /// # Errors
    /// [`Error::Certificates`] when the text or the name cannot be used.
    pub fn trusting(pem: &mut dyn BufRead, name: &str) -> Result<Self, Error> {
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_reader_iter(pem) {
            let certificate = certificate.map_err(|error| Error::Certificates(error.to_string()))?;
            roots.add(certificate)?;
        }
        if roots.is_empty() {
            return Err(Error::Certificates("there is none in it".into()));
        }
        let config = builder()?.with_root_certificates(roots).with_no_client_auth();
        Self::new(config, name)
    }

    /// Trusts whom this machine trusts.
    ///
    /// # Errors
    /// [`Error::Certificates`] when it trusts nobody, or the name cannot be used.
    pub fn system(name: &str) -> Result<Self, Error> {
        let mut roots = RootCertStore::empty();
        let found = rustls_native_certs::load_native_certs();
        roots.add_parsable_certificates(found.certs);
        if roots.is_empty() {
            return Err(Error::Certificates("this machine has none: install ca-certificates".into()));
        }
        let config = builder()?.with_root_certificates(roots).with_no_client_auth();
        Self::new(config, name)
    }

    /// Takes any certificate: for judging a server by what it says, not by who it is. Its signatures are checked.
    ///
    /// # Errors
    /// [`Error::Certificates`] when the name cannot be used.
    pub fn unverified(name: &str) -> Result<Self, Error> {
        let verifier = Arc::new(AnyCertificate(provider()));
        let config = builder()?.dangerous().with_custom_certificate_verifier(verifier).with_no_client_auth();
        Self::new(config, name)
    }

    fn new(mut config: ClientConfig, name: &str) -> Result<Self, Error> {
        config.alpn_protocols = vec![ALPN.to_vec()];
        let name = ServerName::try_from(name.to_owned())
            .map_err(|_| Error::Certificates(format!("`{name}` is no name of a server")))?;
        Ok(Self { config: Arc::new(config), name })
    }
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

fn builder() -> Result<rustls::ConfigBuilder<ClientConfig, rustls::WantsVerifier>, Error> {
    Ok(ClientConfig::builder_with_provider(provider()).with_safe_default_protocol_versions()?)
}

#[derive(Debug)]
struct AnyCertificate(Arc<CryptoProvider>);

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
