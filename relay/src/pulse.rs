//! Whether the shards go round.

use std::sync::Arc;

use crate::{Relay, view::View};

/// Tells whether a relay is alive, for a watchdog.
#[derive(Clone)]
pub struct Pulse(Arc<View>);

impl Pulse {
    /// False when a shard has not been through its loop for five seconds.
    pub fn beats(&self) -> bool {
        self.0.is_alive()
    }
}

impl Relay {
    /// The pulse of this relay.
    pub fn pulse(&self) -> Pulse {
        Pulse(Arc::clone(&self.view))
    }
}
