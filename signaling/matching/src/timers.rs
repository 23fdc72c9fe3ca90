//! What happens by itself when its time comes.

use std::{collections::BTreeSet, time::Duration};

use crate::Id;

/// What a time stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Timer {
    /// A pair's time to accept is over.
    Deadline(Id),
    /// A waiting session's interests no longer matter.
    Widen(Id),
    /// A waiting session may meet again whom it has met lately.
    Retry(Id),
}

/// Times in order. One that no longer applies is recognised where it is handled.
#[derive(Debug, Default)]
pub(crate) struct Timers {
    due: BTreeSet<(Duration, Timer)>,
}

impl Timers {
    pub(crate) fn set(&mut self, at: Duration, timer: Timer) {
        self.due.insert((at, timer));
    }

    pub(crate) fn cancel(&mut self, at: Duration, timer: Timer) {
        self.due.remove(&(at, timer));
    }

    pub(crate) fn next(&self) -> Option<Duration> {
        self.due.first().map(|(at, _)| *at)
    }

    pub(crate) fn pop(&mut self, now: Duration) -> Option<Timer> {
        let (at, timer) = *self.due.first()?;
        if at > now {
            return None;
        }
        self.due.remove(&(at, timer));
        Some(timer)
    }
}
