//! Is the clock right? Credentials and certificates live by it.

use std::{fs, io, process::Command, time::SystemTime};

use super::Findings;

pub(super) fn examine(findings: &mut Findings) {
    if let Ok(Some(made)) = made_later() {
        return findings.fail(format!(
            "the clock is behind: this program was written {} s from now; set the clock (`timedatectl set-ntp true`), or \
             every credential is refused",
            made.as_secs()
        ));
    }
    let asked = Command::new("timedatectl").args(["show", "--property=NTPSynchronized", "--value"]).output();
    match asked.as_ref().map(|output| output.stdout.trim_ascii()) {
        Ok(b"yes") => findings.ok("the clock is synchronised"),
        Ok(b"no") => findings.warn(
            "the clock is not synchronised: credentials are refused when it is off by more than their life; run \
             `timedatectl set-ntp true`",
        ),
        _ => findings.unknown("whether the clock is synchronised: there is no timedatectl that tells; compare with `date -u`"),
    }
}

/// How far in the future the program's own file was written.
fn made_later() -> io::Result<Option<std::time::Duration>> {
    let written = fs::metadata(std::env::current_exe()?)?.modified()?;
    Ok(written.duration_since(SystemTime::now()).ok())
}
