//! What a process does with signaling that serves.

use std::{sync::Arc, thread, time::Duration};

use turnpike_config::Auth;

use crate::{Signaling, http::Context};

/// A handle to signaling, from before it serves until after it has ended.
#[derive(Clone)]
pub struct Remote(Arc<Context>);

impl Remote {
    /// Whether it is alive, for a watchdog on the same runtime: false when the node's state cannot be had for a tenth of
    /// a second. Every step on it is far shorter.
    pub fn is_alive(&self) -> bool {
        (0..100).any(|_| {
            self.0.hub.is_free() || {
                thread::sleep(Duration::from_millis(1));
                false
            }
        })
    }

    /// Signs with this secret and takes these keys from now on.
    pub fn set_logins(&self, auth: &Auth) {
        self.0.ice.set_secret(auth);
        self.0.api_keys.store(Arc::new(auth.api_keys.clone()));
        self.0.admin_keys.store(Arc::new(auth.admin_keys.clone()));
        self.0.jwt_keys.store(Arc::new(auth.jwt_keys.clone()));
    }
}

impl Signaling {
    /// The handle of this node.
    pub fn remote(&self) -> Remote {
        Remote(Arc::clone(&self.context))
    }
}
