//! The file in the state folder by which sessions and pairs outlive a restart.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    time::Duration,
};

use crate::{
    clock::Clock,
    hub::{Handover, Hub},
};

const NAME: &str = "signaling-sessions.json";

/// Where a process leaves its sessions to the next.
#[derive(Debug, Clone)]
pub(crate) struct StateFile {
    path: PathBuf,
    /// What is older helps nobody: the clients have given up.
    good_for: Duration,
}

impl StateFile {
    pub(crate) fn new(folder: &Path, good_for: Duration) -> Self {
        Self { path: folder.join(NAME), good_for }
    }

    /// Begins to write; `None`, and told, where that cannot be done.
    pub(crate) fn begin(&self) -> Option<Begun<'_>> {
        let new = self.path.with_extension("new");
        let file = match fs::remove_file(&new) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            // Readable for this user alone.
            _ => OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new),
        };
        file.map(|file| Begun { place: self, file, new }).map_err(|error| self.not_kept(&error)).ok()
    }

    /// Takes back what the process before has left, and removes it.
    pub(crate) fn take_back(&self, hub: &Hub, clock: Clock) {
        let text = match fs::read(&self.path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return,
            Err(error) => return self.damaged(&error),
        };
        // It holds secrets, and serves once.
        if let Err(error) = fs::remove_file(&self.path) {
            self.damaged(&error);
            return;
        }
        match serde_json::from_slice::<Handover>(&text) {
            Err(error) => self.damaged(&error),
            Ok(handover) => {
                let age = clock.unix().saturating_sub(Duration::from_millis(handover.at));
                if age > self.good_for {
                    tracing::info!(
                        age_s = age.as_secs(),
                        "the sessions of the last run are too old to go on with"
                    );
                    hub.refuse(handover);
                } else {
                    let left = handover.size();
                    let taken = hub.take_back(handover);
                    tracing::info!(
                        sessions = taken.sessions,
                        of_sessions = left.sessions,
                        pairs = taken.pairs,
                        of_pairs = left.pairs,
                        "sessions and pairs of the last run go on"
                    );
                }
            }
        }
    }

    fn not_kept(&self, error: &io::Error) {
        tracing::warn!(
            code = "sessions_not_kept",
            path = %self.path.display(),
            %error,
            "sessions and pairs end with this process, since they could not be written; make the folder of \
             node.state_dir writable for this user"
        );
    }

    fn damaged(&self, error: &dyn std::fmt::Display) {
        tracing::warn!(
            code = "sessions_not_taken_back",
            path = %self.path.display(),
            %error,
            "the sessions of the last run cannot be read and are gone; their clients begin new ones. Remove the file if \
             it is still there"
        );
    }
}

/// A file that is whole once it is in its place.
pub(crate) struct Begun<'a> {
    place: &'a StateFile,
    file: File,
    new: PathBuf,
}

impl Begun<'_> {
    /// Writes what is left.
    pub(crate) fn leave(mut self, handover: &Handover) {
        let left = handover.size();
        match self.write(handover) {
            Ok(()) if handover.is_empty() => {}
            Ok(()) => tracing::info!(
                sessions = left.sessions,
                pairs = left.pairs,
                "sessions and pairs are left to the next start, which takes them back within {} s",
                self.place.good_for.as_secs()
            ),
            Err(error) => self.place.not_kept(&error),
        }
    }

    fn write(&mut self, handover: &Handover) -> io::Result<()> {
        if handover.is_empty() {
            return fs::remove_file(&self.new);
        }
        self.file.write_all(&serde_json::to_vec(handover)?)?;
        self.file.sync_all()?;
        fs::rename(&self.new, &self.place.path)
    }
}
