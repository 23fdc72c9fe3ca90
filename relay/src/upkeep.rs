//! What the process around the relay does for its operator, and tells through the relay.

use std::sync::{Mutex, OnceLock, PoisonError};

use tokio::sync::{mpsc, oneshot};
use turnpike_relay_api::admin::Reloaded;

/// Asks for a reload, and waits for what became of it.
pub type ReloadRequest = oneshot::Sender<Reloaded>;

#[derive(Debug, Default)]
pub(crate) struct Upkeep {
    /// Who reads the configuration again, once there is one.
    reloads: OnceLock<mpsc::Sender<ReloadRequest>>,
    changed_keys: Mutex<Vec<String>>,
    address_changes: Mutex<Vec<String>>,
}

impl Upkeep {
    /// What asks from now on; the first reader alone is asked.
    pub(crate) fn reload_requests(&self) -> mpsc::Receiver<ReloadRequest> {
        let (ask, asked) = mpsc::channel(1);
        let _is_first = self.reloads.set(ask);
        asked
    }

    /// Has the configuration read again; `None` where nobody does that.
    pub(crate) async fn reload(&self) -> Option<Reloaded> {
        let (reply, answer) = oneshot::channel();
        self.reloads.get()?.send(reply).await.ok()?;
        answer.await.ok()
    }

    pub(crate) fn set_changed_keys(&self, keys: Vec<String>) {
        *self.changed_keys.lock().unwrap_or_else(PoisonError::into_inner) = keys;
    }

    pub(crate) fn set_address_changes(&self, changes: Vec<String>) {
        *self.address_changes.lock().unwrap_or_else(PoisonError::into_inner) = changes;
    }

    /// One sentence for each thing that would be another after a restart.
    pub(crate) fn waiting_for_restart(&self) -> Vec<String> {
        let keys = self.changed_keys.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let mut waiting: Vec<String> = keys.iter().map(|key| format!("{key} has changed")).collect();
        waiting.extend(self.address_changes.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned());
        waiting
    }
}
