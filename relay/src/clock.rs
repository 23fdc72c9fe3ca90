//! Where the core's time comes from.

use std::time::{Duration, Instant, SystemTime};

use turnpike_proto::Now;

/// The clock of one process, the same for all shards.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Clock {
    start: Instant,
}

impl Clock {
    pub(crate) fn start() -> Self {
        Self { start: Instant::now() }
    }

    pub(crate) fn now(&self) -> Now {
        let unix = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        Now { mono: self.uptime(), unix: unix.as_secs() }
    }

    pub(crate) fn uptime(&self) -> Duration {
        self.start.elapsed()
    }
}
