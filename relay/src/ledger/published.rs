//! What the ledger's thread tells the others: totals of the period, and how its writing goes.

use std::sync::{
    Mutex, PoisonError,
    atomic::{AtomicU64, Ordering},
};

use turnpike_relay_api::admin::Traffic;

use super::label::OTHER;

/// The kinds of records (RFC 2866 §5.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Status {
    /// An allocation was made.
    Start,
    /// Its counters have grown.
    Interim,
    /// It has ended.
    Stop,
}

impl Status {
    /// In the order of their counts.
    pub(crate) const ALL: [Self; 3] = [Self::Start, Self::Interim, Self::Stop];

    /// As metrics have it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Interim => "interim",
            Self::Stop => "stop",
        }
    }
}

/// Totals as they are now, what is not written yet included.
#[derive(Debug, Default, Clone)]
pub(crate) struct Reading {
    /// The first day of the billing period, counted from 1970-01-01.
    pub(crate) period_start: i64,
    /// The first of the next.
    pub(crate) period_end: i64,
    /// Of the billing period.
    pub(crate) period: Traffic,
    /// Of today and the seven days before it, as far as there is something, the oldest first.
    pub(crate) days: Vec<(i64, Traffic)>,
    /// Bytes that count on a bill, since the start of the process, by tenant; the last one is everybody else.
    pub(crate) tenants: Vec<(&'static str, u64)>,
    /// Unix time of what was taken in last.
    pub(crate) at: u64,
    /// Unix time of the ledger's beginning.
    pub(crate) began: u64,
}

/// Shared by the ledger's thread and those who ask.
#[derive(Debug)]
pub(crate) struct Published {
    reading: Mutex<Reading>,
    written: [AtomicU64; 3],
    dropped: [AtomicU64; 3],
    last_write: AtomicU64,
}

impl Published {
    pub(super) fn new(tenants: &[String]) -> Self {
        // Once a process, for the labels of metrics.
        let leak = |tenant: &String| (&*tenant.clone().leak(), 0);
        let tenants = tenants.iter().map(leak).chain([(OTHER, 0)]).collect();
        let reading = Mutex::new(Reading { tenants, ..Reading::default() });
        Self {
            reading,
            written: Default::default(),
            dropped: Default::default(),
            last_write: AtomicU64::new(0),
        }
    }

    /// The totals.
    pub(crate) fn reading(&self) -> Reading {
        self.reading.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn change(&self, change: impl FnOnce(&mut Reading)) {
        change(&mut self.reading.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// Records that are in the database.
    pub(crate) fn written(&self, status: Status) -> u64 {
        self.written[status as usize].load(Ordering::Relaxed)
    }

    /// Records that were due and did not get there.
    pub(crate) fn lost(&self, status: Status) -> u64 {
        self.dropped[status as usize].load(Ordering::Relaxed)
    }

    /// Unix time of the last writing that went well; 0 when there was none.
    pub(crate) fn last_write(&self) -> u64 {
        self.last_write.load(Ordering::Relaxed)
    }

    pub(super) fn wrote(&self, at: u64, records: [u64; 3]) {
        self.last_write.store(at, Ordering::Relaxed);
        for (count, more) in self.written.iter().zip(records) {
            count.fetch_add(more, Ordering::Relaxed);
        }
    }

    pub(super) fn dropped(&self, status: Status, records: u64) {
        self.dropped[status as usize].fetch_add(records, Ordering::Relaxed);
    }
}
