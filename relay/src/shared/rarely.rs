//! What the operator is told once in a while, whichever shard finds it.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

/// Between two times.
const EVERY: Duration = Duration::from_secs(60);

/// Something that is told once a minute at most.
#[derive(Debug, Default)]
pub(crate) struct Rarely {
    /// Seconds since the start of the process.
    next: AtomicU64,
}

impl Rarely {
    /// Whether it is time to tell it, which it then is not for a minute.
    pub(crate) fn is_due(&self, now: Duration) -> bool {
        let next = self.next.load(Ordering::Relaxed);
        let later = (now + EVERY).as_secs();
        now.as_secs() >= next
            && self.next.compare_exchange(next, later, Ordering::Relaxed, Ordering::Relaxed).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_due_at_once_and_then_once_a_minute() {
        let rarely = Rarely::default();
        let due = |second| rarely.is_due(Duration::from_secs(second));
        assert_eq!([0, 0, 59, 60, 61, 119, 120].map(due), [true, false, false, true, false, false, true]);
    }
}
