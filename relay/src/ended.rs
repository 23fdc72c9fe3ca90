//! What is counted of allocations when they end.

use turnpike_proto::{Cause, Closed, Tally};

use crate::{
    budget::Budget,
    metrics::distribution::{Bounds, Distribution},
};

/// Seconds: a check of connectivity, a glance, a short call, a long one, an evening.
static DURATIONS: Bounds = [10.0, 60.0, 300.0, 1_800.0, 7_200.0];
/// Bytes.
static BILLED: Bounds = [1e4, 1e6, 1e7, 1e8, 1e9];

/// Allocations that have ended since the start.
#[derive(Debug, Clone)]
pub(crate) struct EndedCounts {
    /// By cause: those that relayed nothing, and those that did.
    pub(crate) closed: [Tally<Cause>; 2],
    /// How long they lived, in seconds.
    pub(crate) durations: Distribution,
    /// What of each was on the bill, in bytes.
    pub(crate) billed: Distribution,
}

impl Default for EndedCounts {
    fn default() -> Self {
        Self {
            closed: Default::default(),
            durations: Distribution::new(&DURATIONS),
            billed: Distribution::new(&BILLED),
        }
    }
}

impl EndedCounts {
    /// Counts one more.
    pub(crate) fn count(&mut self, closed: &Closed, budget: &Budget) {
        let traffic = closed.traffic.total();
        let is_used = traffic.peer_in.packets + traffic.peer_out.packets > 0;
        self.closed[usize::from(is_used)].count(closed.cause);
        self.durations.observe(closed.closed.saturating_sub(closed.opened).as_secs_f64());
        self.billed.observe(budget.billed(&traffic) as f64);
    }

    /// Adds those of another shard.
    pub(crate) fn add(&mut self, other: &Self) {
        self.closed.iter_mut().zip(&other.closed).for_each(|(mine, theirs)| mine.add(theirs));
        self.durations.add(&other.durations);
        self.billed.add(&other.billed);
    }
}
