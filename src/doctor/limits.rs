//! Does the machine give what the configuration promises?

use std::fs;

use super::{Findings, Patient};

/// What the relay asks for on its listeners, in bytes.
const RECEIVE_BUFFER: u64 = 4 << 20;

pub(super) fn examine(patient: &Patient, findings: &mut Findings) {
    match turnpike_relay::open_files(&patient.loaded.config) {
        (Some(got), needed) if got < needed => findings.warn(format!(
            "{got} files may be open here, and {needed} are needed for every allocation that is promised: raise \
             LimitNOFILE= of the unit or `ulimit -Hn`, or lower relay.max_allocations"
        )),
        (_, needed) => findings.ok(format!("the {needed} open files that every allocation may need can be had")),
    }
    let most = fs::read_to_string("/proc/sys/net/core/rmem_max")
        .ok()
        .and_then(|text| text.trim().parse::<u64>().ok());
    match most {
        Some(most) if most < RECEIVE_BUFFER => findings.warn(format!(
            "a socket may buffer {most} bytes: bursts of many calls are lost before the relay sees them; run `sysctl -w \
             net.core.rmem_max=8388608` and keep it in /etc/sysctl.d"
        )),
        Some(_) => findings.ok("receive buffers can be as large as the relay asks"),
        None => findings.unknown("how much a socket may buffer: /proc/sys/net/core/rmem_max does not tell"),
    }
}
