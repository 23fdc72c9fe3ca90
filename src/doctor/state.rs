//! Can what is used be written down?

use std::path::Path;

use rustix::fs::{Access, access, statvfs};

use super::{Findings, Patient};

/// A ledger of a busy node grows by some MiB a day.
const LITTLE: u64 = 1 << 30;
const TOO_LITTLE: u64 = 64 << 20;

pub(super) fn examine(patient: &Patient, findings: &mut Findings) {
    let folder = &patient.loaded.config.node.state_dir;
    if !folder.exists() {
        return findings
            .warn(format!("{} does not exist yet: the relay makes it at its start", folder.display()));
    }
    if access(folder, Access::WRITE_OK | Access::EXEC_OK).is_err() {
        findings.unknown(format!(
            "{} cannot be written to by this user; that the user of the service can: `sudo -u turnpike test -w {0}`",
            folder.display()
        ));
    }
    room(folder, findings);
}

fn room(folder: &Path, findings: &mut Findings) {
    let free = match statvfs(folder) {
        Ok(disk) => disk.f_bavail * disk.f_frsize,
        Err(error) => return findings.unknown(format!("how much room {} has ({error})", folder.display())),
    };
    let said = format!("{} MiB are free for the ledger in {}", free >> 20, folder.display());
    match free {
        ..TOO_LITTLE => findings.fail(format!("{said}: usage is about to be lost; make room")),
        TOO_LITTLE..LITTLE => findings.warn(format!("{said}: make room before it fills")),
        _ => findings.ok(said),
    }
}
