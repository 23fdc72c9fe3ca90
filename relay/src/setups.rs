//! How long it takes to make an allocation.

use std::time::Duration;

use crate::metrics::distribution::{Bounds, Distribution};

/// Seconds.
static BOUNDS: Bounds = [0.0002, 0.001, 0.005, 0.02, 0.1];

/// From the turn that took an Allocate until its answer is ready: admission, relay sockets, their place in the turn.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Setups(Distribution);

impl Default for Setups {
    fn default() -> Self {
        Self(Distribution::new(&BOUNDS))
    }
}

impl Setups {
    pub(crate) fn count(&mut self, took: Duration) {
        self.0.observe(took.as_secs_f64());
    }

    /// Adds those of another shard.
    pub(crate) fn add(&mut self, other: &Self) {
        self.0.add(&other.0);
    }

    /// In seconds.
    pub(crate) fn seconds(&self) -> &Distribution {
        &self.0
    }
}
