//! What a process does with a relay that serves.

use std::{sync::Arc, time::Duration};

use tokio::sync::mpsc;
use turnpike_config::Auth;

use crate::{Relay, ReloadRequest, logins::Logins, shard::Command, view::View};

/// A handle to a relay, from before it serves until after it has ended.
#[derive(Clone)]
pub struct Remote(Arc<View>);

impl Remote {
    /// Whether it is alive: false when a shard has not been through its loop for five seconds.
    pub fn is_alive(&self) -> bool {
        self.0.is_alive()
    }

    /// Lets in from now on whom these let in. Allocations live on. Blocks while a shard has no room for commands.
    pub fn set_logins(&self, auth: &Auth) {
        let own = self.0.node.self_test.as_ref().map(|self_test| &self_test.login);
        let logins = Arc::new(Logins::of(auth, own));
        self.0.shards.iter().for_each(|shard| shard.insist(Command::Logins(Arc::clone(&logins))));
    }

    /// Notes for the metrics how a reload ended, at this moment of Unix time.
    pub fn reloaded(&self, success: bool, at: Duration) {
        self.0.config_reload.note(success, at.as_secs());
    }

    /// Reloads that are asked for on the admin socket from now on; whoever takes them answers. The first caller alone is
    /// asked.
    pub fn reload_requests(&self) -> mpsc::Receiver<ReloadRequest> {
        self.0.upkeep.reload_requests()
    }

    /// Tells in the status which keys wait for a restart.
    pub fn set_changed_keys(&self, keys: Vec<String>) {
        self.0.upkeep.set_changed_keys(keys);
    }

    /// Tells in the status, one sentence each, which advertised addresses are no longer this machine's.
    pub fn set_address_changes(&self, changes: Vec<String>) {
        self.0.upkeep.set_address_changes(changes);
    }
}

impl Relay {
    /// The handle of this relay.
    pub fn remote(&self) -> Remote {
        Remote(Arc::clone(&self.view))
    }
}
