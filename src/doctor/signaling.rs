//! Does signaling answer, and does it find its relay?

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    time::Duration,
};

use serde_json::Value;

use super::{Findings, Patient};
use crate::http;

const WITHIN: Duration = Duration::from_secs(5);

pub(super) fn examine(patient: &Patient, findings: &mut Findings) {
    let Some(listener) = patient.loaded.config.signaling.listen.first() else {
        return findings.unknown("signaling listens on no TCP address");
    };
    let address = reachable(*listener);
    match http::get(address, "/readyz", WITHIN) {
        Err(error) => findings.fail(format!(
            "nobody answers on {address} ({error}): start it with `turnpike signaling`, or look at `systemctl status \
             turnpike-signaling`"
        )),
        Ok(answer) => readiness(address, &answer, findings),
    }
}

fn readiness(address: SocketAddr, answer: &http::Answer, findings: &mut Findings) {
    let state: Value = serde_json::from_str(&answer.body).unwrap_or_default();
    match (answer.status.as_u16(), state["relay"].as_str()) {
        (200, Some(_)) if state["degraded"] == true => findings.warn(format!(
            "ready on {address}, but alone: it does not reach Redis; see what `turnpike doctor --only redis` says"
        )),
        (200, Some(_)) => findings.ok(format!("ready on {address}")),
        (503, Some("down")) => findings.fail(format!(
            "signaling on {address} cannot reach its relay: is turnpike-relay running, and is relay.admin_socket the \
             same for both services?"
        )),
        (503, Some(_)) => findings.warn(format!("signaling on {address} drains: it takes on nobody new")),
        (status, _) => findings.fail(format!(
            "what answers on {address} is not signaling (status {status}): another program has that port"
        )),
    }
}

/// An unspecified address is reached by loopback.
fn reachable(listener: SocketAddr) -> SocketAddr {
    match listener.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => (Ipv4Addr::LOCALHOST, listener.port()).into(),
        IpAddr::V6(ip) if ip.is_unspecified() => {
            match std::net::TcpListener::bind((Ipv6Addr::LOCALHOST, 0)) {
                Ok(_) => (Ipv6Addr::LOCALHOST, listener.port()).into(),
                // A host without IPv6.
                Err(_) => (Ipv4Addr::LOCALHOST, listener.port()).into(),
            }
        }
        _ => listener,
    }
}
