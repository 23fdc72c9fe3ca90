//! Notices that the certificate's files have changed, and waits until whoever writes them is done.

use std::{
    fs, io,
    os::unix::fs::MetadataExt as _,
    path::Path,
    time::{Duration, Instant},
};

use super::Tls;

/// How often an expiry that comes near is told.
const REMIND_EVERY: Duration = Duration::from_secs(86_400);

/// What tells one state of a file from another; a file that cannot be looked at has a state too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stamp {
    File { device: u64, inode: u64, size: u64, modified: (i64, i64), changed: (i64, i64) },
    Missing(io::ErrorKind),
}

impl Stamp {
    /// Follows links, as those of certbot's `live` folder.
    fn of(path: &Path) -> Self {
        match fs::metadata(path) {
            Ok(file) => Self::File {
                device: file.dev(),
                inode: file.ino(),
                size: file.size(),
                modified: (file.mtime(), file.mtime_nsec()),
                changed: (file.ctime(), file.ctime_nsec()),
            },
            Err(error) => Self::Missing(error.kind()),
        }
    }
}

/// Those of certificate and key.
pub(super) type Stamps = [Stamp; 2];

pub(super) fn stamps(files: &turnpike_config::Tls) -> Stamps {
    [Stamp::of(&files.cert_file), Stamp::of(&files.key_file)]
}

/// What has been seen of the files.
pub(super) struct Watch {
    /// What was last read, whatever came of it.
    read: Stamps,
    /// What was there at the last look.
    seen: Stamps,
    reminded: Instant,
}

impl Watch {
    /// `loaded` is what was there when the certificate in use was read.
    pub(super) fn since(loaded: Stamps) -> Self {
        Self { read: loaded, seen: loaded, reminded: Instant::now() }
    }

    /// Reads the files when they have changed since they were last read and not since the last look: a pair that is
    /// half written is left alone.
    pub(super) fn look(&mut self, tls: &Tls) {
        let now = stamps(&tls.files);
        let still = now == self.seen;
        self.seen = now;
        if still && now != self.read {
            self.read = now;
            if let Err(error) = tls.reload() {
                tracing::warn!(
                    code = "certificate_refused",
                    "the changed TLS certificate is not taken, the one before stays in use: {error}"
                );
            }
        }
        if self.reminded.elapsed() >= REMIND_EVERY {
            self.reminded = Instant::now();
            tls.warn_of_expiry();
        }
    }
}
