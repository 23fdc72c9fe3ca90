//! Can every port be had?

use super::{Findings, Patient};
use crate::{commands::config_check, screen::Verdict};

pub(super) fn examine(patient: &Patient, findings: &mut Findings) {
    let config = &patient.loaded.config;
    for (_, outcome) in config_check::ports(config) {
        match outcome {
            Ok(found) => findings.ok(found),
            Err(found) => findings.fail(found),
        }
    }
    match turnpike_relay::ports_given_to_others(config.relay.port_range) {
        Some(cure) => findings.say(Verdict::Warn, cure),
        None => findings.ok("no other program is given relay ports by the kernel"),
    }
}
