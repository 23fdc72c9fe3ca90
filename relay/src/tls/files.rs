//! Certificates for tests, signed by an authority of their own.

use std::{fs, path::PathBuf, sync::Arc};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::{ClientConfig, RootCertStore};
use tempfile::TempDir;

use super::{Tls, check_certificate};

/// An authority, and a folder with the pair that it has signed last.
pub(crate) struct Files {
    authority: CertifiedIssuer<'static, KeyPair>,
    folder: TempDir,
}

impl Files {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::new([]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let files = Self { authority, folder: tempfile::tempdir().unwrap() };
        files.renew(params_for("turn.example.org"));
        files
    }

    /// Writes a new pair.
    pub(crate) fn renew(&self, params: CertificateParams) {
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.authority).unwrap();
        fs::write(self.path("cert.pem"), certificate.pem()).unwrap();
        fs::write(self.path("key.pem"), key.serialize_pem()).unwrap();
    }

    pub(crate) fn renew_key(&self) {
        fs::write(self.path("key.pem"), KeyPair::generate().unwrap().serialize_pem()).unwrap();
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn config(&self) -> turnpike_config::Tls {
        turnpike_config::Tls {
            listen: Vec::new(),
            cert_file: self.path("cert.pem"),
            key_file: self.path("key.pem"),
            acme: None,
        }
    }

    pub(crate) fn load(&self) -> Tls {
        Tls::load(&self.config(), Some("turn.example.org")).unwrap()
    }

    /// What is said of the files, their folder taken out.
    pub(crate) fn refusal(&self) -> String {
        let said = check_certificate(&self.config(), Some("turn.example.org")).unwrap_err().to_string();
        said.replace(&format!("{}/", self.folder.path().display()), "")
    }

    pub(crate) fn client(&self, alpn: &[&[u8]]) -> Arc<ClientConfig> {
        let mut roots = RootCertStore::empty();
        roots.add(self.authority.der().clone()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let mut config = builder.unwrap().with_root_certificates(roots).with_no_client_auth();
        config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
        Arc::new(config)
    }
}

pub(crate) fn params_for(name: &str) -> CertificateParams {
    CertificateParams::new([name.to_owned()]).unwrap()
}
