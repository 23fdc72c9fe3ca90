//! How the last reload of the configuration ended.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

#[derive(Debug)]
pub(crate) struct LastReload {
    success: AtomicBool,
    /// Unix seconds of the last success.
    at: AtomicU64,
}

impl LastReload {
    /// The configuration of the start, read then.
    pub(crate) fn at(unix: u64) -> Self {
        Self { success: AtomicBool::new(true), at: AtomicU64::new(unix) }
    }

    pub(crate) fn note(&self, success: bool, unix: u64) {
        self.success.store(success, Ordering::Relaxed);
        if success {
            self.at.store(unix, Ordering::Relaxed);
        }
    }

    /// Whether it succeeded, and when one last did.
    pub(crate) fn get(&self) -> (bool, u64) {
        (self.success.load(Ordering::Relaxed), self.at.load(Ordering::Relaxed))
    }
}
