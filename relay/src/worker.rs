//! The thread of a shard: made with everything else at the start, set off later, waited for at the end.

use std::{
    io,
    sync::mpsc::{Sender, channel},
    thread,
};

use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use crate::shard::{Outcome, Shard};

/// The thread of one shard. Dropped before it was started, it ends unused.
pub(crate) struct Worker {
    start: Sender<()>,
    /// What became of its allocations; an error when it has panicked.
    pub(crate) outcome: oneshot::Receiver<Outcome>,
}

impl Worker {
    /// Makes the thread; `make_shard` runs on it, so that the shard's buffers belong to it. Its end, however it ends,
    /// cancels `ended`.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub(crate) fn spawn(
        id: usize,
        ended: &CancellationToken,
        make_shard: impl FnOnce() -> Shard + Send + 'static,
    ) -> io::Result<Self> {
        let (start, started) = channel();
        let (outcome_in, outcome) = oneshot::channel();
        let ended = ended.clone().drop_guard();
        thread::Builder::new().name(format!("relay-{id}")).spawn(move || {
            let _ended = ended;
            if started.recv().is_ok() {
                // Whoever waited for it may be gone.
                let _ = outcome_in.send(make_shard().run());
            }
        })?;
        Ok(Self { start, outcome })
    }

    /// Sets the shard off.
    pub(crate) fn start(&self) {
        // It waits for exactly this; one that is gone shows in its outcome.
        let _ = self.start.send(());
    }
}
