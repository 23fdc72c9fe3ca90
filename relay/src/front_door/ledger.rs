//! What the front door counts.

use std::sync::atomic::{AtomicU64, Ordering};

/// How a visit ended, or why there was none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Either side was done.
    Closed,
    /// The connection broke.
    Lost,
    /// Nothing came within the time for a first byte.
    Silent,
    /// Nothing went either way for long.
    Idle,
    /// The visitor did not take what it was sent.
    Stalled,
    /// Signaling could not be reached.
    Unavailable,
    /// As many as may be inside were inside.
    Full,
    /// As many of its address as may be inside were inside.
    AddressFull,
    /// Too many came at once.
    QueueFull,
}

impl Outcome {
    pub(crate) const ALL: [Self; 9] = [
        Self::Closed,
        Self::Lost,
        Self::Silent,
        Self::Idle,
        Self::Stalled,
        Self::Unavailable,
        Self::Full,
        Self::AddressFull,
        Self::QueueFull,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Lost => "lost",
            Self::Silent => "silent",
            Self::Idle => "idle",
            Self::Stalled => "stalled",
            Self::Unavailable => "unavailable",
            Self::Full => "full",
            Self::AddressFull => "address_full",
            Self::QueueFull => "queue_full",
        }
    }
}

/// Counts of all visits.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    outcomes: [AtomicU64; Outcome::ALL.len()],
    bytes_in: AtomicU64,
    bytes_out: AtomicU64,
}

impl Ledger {
    pub(super) fn ended(&self, outcome: Outcome) {
        self.outcomes[outcome as usize].fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn received(&self, bytes: usize) {
        self.bytes_in.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    pub(super) fn sent(&self, bytes: usize) {
        self.bytes_out.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    pub(crate) fn count(&self, outcome: Outcome) -> u64 {
        self.outcomes[outcome as usize].load(Ordering::Relaxed)
    }

    /// Bytes at the IP layer: in, out.
    pub(crate) fn bytes(&self) -> (u64, u64) {
        (self.bytes_in.load(Ordering::Relaxed), self.bytes_out.load(Ordering::Relaxed))
    }
}
