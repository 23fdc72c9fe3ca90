//! Will browsers take the certificate?

use turnpike_relay_api::admin::AcmeStatus;

use super::{Findings, Patient};
use crate::quantity;

pub(super) fn examine(patient: &Patient, findings: &mut Findings) {
    let config = &patient.loaded.config;
    let Some(tls) = &config.tls else {
        return findings.warn(
            "TLS is off: a browser gives no camera to a page over plain HTTP, and networks that let out nothing but 443 \
             are not served; set node.domain and [tls] mode = \"acme\", or \"files\" with a certificate of your own",
        );
    };
    let renewed = patient.relay.as_ref().ok().and_then(|status| status.certificate.as_ref()?.acme.as_ref());
    match turnpike_relay::check_certificate(tls, config.node.domain.as_deref()) {
        Ok(certificate) if certificate.expires_soon() && tls.acme.is_none() => {
            findings.warn(format!("certificate {certificate}: renew it"))
        }
        Ok(certificate) => findings.ok(format!("certificate {certificate}")),
        Err(_) if tls.acme.is_some() && !tls.cert_file.exists() => match patient.relay {
            Ok(_) => findings.fail("there is no certificate yet"),
            Err(_) => findings.warn("there is no certificate yet: the relay gets one when it runs"),
        },
        Err(error) => findings.fail(error.to_string()),
    }
    if let Some(acme) = renewed {
        renewal(acme, findings);
    }
}

fn renewal(acme: &AcmeStatus, findings: &mut Findings) {
    let next = quantity::moment(acme.next_attempt);
    match &acme.last_error {
        Some(error) => findings.fail(format!(
            "ACME has failed {} times: {error}; port 80 of node.domain must lead here from everywhere; it is tried again \
             {next}",
            acme.failures
        )),
        None => findings.ok(format!("renewed by ACME {next}")),
    }
}
