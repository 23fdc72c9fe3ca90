//! The two times that are needed: one that never goes back, one that people know.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

const BEFORE: Duration = Duration::from_secs(86_400);

/// Reads both times.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Clock {
    start: Instant,
}

impl Clock {
    pub(crate) fn start() -> Self {
        Self { start: Instant::now() }
    }

    /// Time since a day before the start: what a process before this one did has a time as well.
    pub(crate) fn mono(self) -> Duration {
        self.start.elapsed() + BEFORE
    }

    /// Time since 1970.
    pub(crate) fn unix(self) -> Duration {
        SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
    }

    /// The moment of a monotonic time, for timers.
    pub(crate) fn instant(self, mono: Duration) -> Instant {
        self.start + mono.saturating_sub(BEFORE)
    }
}
