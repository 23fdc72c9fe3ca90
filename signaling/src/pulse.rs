//! Whether the state of the node can be had.

use std::{sync::Arc, thread, time::Duration};

use crate::{Signaling, hub::Hub};

/// Tells whether signaling is alive, for a watchdog that runs on the same runtime.
#[derive(Clone)]
pub struct Pulse(Arc<Hub>);

impl Pulse {
    /// False when the node's state cannot be had for a tenth of a second; every step on it is far shorter.
    pub fn beats(&self) -> bool {
        (0..100).any(|_| {
            self.0.is_free() || {
                thread::sleep(Duration::from_millis(1));
                false
            }
        })
    }
}

impl Signaling {
    /// The pulse of this node.
    pub fn pulse(&self) -> Pulse {
        Pulse(Arc::clone(&self.context.hub))
    }
}
