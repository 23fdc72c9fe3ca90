//! Signals: the first SIGTERM or SIGINT drains, the second one ends.

use std::{io, time::Duration};

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::supervisor;

/// What tells services to end.
#[derive(Debug, Clone)]
pub(crate) struct Stopping {
    /// Serve what lives, take on nothing new.
    pub(crate) drain: CancellationToken,
    /// End now.
    pub(crate) stop: CancellationToken,
}

impl Stopping {
    /// Listens for signals from here on; the first one gives those who are left so long.
    ///
    /// # Errors
    /// When the kernel refuses the handlers.
    pub(crate) fn on_signals(drain_timeout: Duration) -> io::Result<Self> {
        let stopping = Self { drain: CancellationToken::new(), stop: CancellationToken::new() };
        let (terminate, interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
        tokio::spawn(stopping.clone().cancel_on(terminate, interrupt, drain_timeout));
        Ok(stopping)
    }

    /// Ends everything at once.
    pub(crate) fn end(&self) {
        self.drain.cancel();
        self.stop.cancel();
    }

    async fn cancel_on(self, mut terminate: Signal, mut interrupt: Signal, drain_timeout: Duration) {
        for (token, message) in
            [(&self.drain, "stopping; a second signal ends at once"), (&self.stop, "ending at once")]
        {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            tracing::info!("{message}");
            if !self.drain.is_cancelled() {
                supervisor::stopping(drain_timeout);
            }
            token.cancel();
        }
    }
}
