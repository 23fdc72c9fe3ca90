//! Will browsers take the certificate?

use super::{Findings, Patient};

pub(super) fn examine(patient: &Patient, findings: &mut Findings) {
    let config = &patient.loaded.config;
    let Some(tls) = &config.tls else {
        return findings.warn(
            "TLS is off: a browser gives no camera to a page over plain HTTP, and networks that let out nothing but 443 \
             are not served; set node.domain and [tls] mode = \"files\"",
        );
    };
    match turnpike_relay::check_certificate(tls, config.node.domain.as_deref()) {
        Ok(certificate) if certificate.expires_soon() => {
            findings.warn(format!("certificate {certificate}: renew it"))
        }
        Ok(certificate) => findings.ok(format!("certificate {certificate}")),
        Err(error) => findings.fail(error.to_string()),
    }
}
