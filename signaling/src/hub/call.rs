//! What is kept of a pair for the statistics.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::contract::{CandidateType, PairStats};

/// How the media of a call travelled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Path {
    Direct,
    RelayOneSide,
    RelayBoth,
    Failed,
    Unknown,
}

impl Path {
    pub(super) fn of(stats: &PairStats) -> Self {
        match stats {
            PairStats::Failed { .. } => Self::Failed,
            PairStats::Connected { local, remote, .. } => {
                match [local, remote].iter().filter(|kind| ***kind == CandidateType::Relay).count() {
                    2 => Self::RelayBoth,
                    1 => Self::RelayOneSide,
                    _ => Self::Direct,
                }
            }
        }
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Direct => "direct",
            Self::RelayOneSide => "relay_one_side",
            Self::RelayBoth => "relay_both",
            Self::Failed => "failed",
            Self::Unknown => "unknown",
        }
    }
}

/// One pair.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Call {
    /// On this process's clock.
    #[serde(skip)]
    started: Option<Duration>,
    path: Path,
    /// When the last of its TURN credentials expires, in Unix seconds; 0 without any.
    credentials_until: u64,
}

impl Call {
    pub(super) fn new() -> Self {
        Self { started: None, path: Path::Unknown, credentials_until: 0 }
    }

    /// False when it had started before.
    pub(super) fn start(&mut self, now: Duration) -> bool {
        let is_first = self.started.is_none();
        self.started.get_or_insert(now);
        is_first
    }

    pub(super) fn started(&self) -> Option<Duration> {
        self.started
    }

    pub(super) fn minted(&mut self, expires_at: Option<u64>) {
        self.credentials_until = self.credentials_until.max(expires_at.unwrap_or(0));
    }

    /// When the last of its TURN credentials expires; `None` without any.
    pub(super) fn credentials_until(&self) -> Option<u64> {
        (self.credentials_until > 0).then_some(self.credentials_until)
    }

    /// The last word counts, but a failure does not undo that media flowed: a call that ends badly has had a path.
    pub(super) fn report(&mut self, path: Path) {
        if path != Path::Failed || self.path == Path::Unknown {
            self.path = path;
        }
    }

    pub(super) fn path(&self) -> Path {
        self.path
    }
}
