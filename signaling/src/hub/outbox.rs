//! The way to one client: events numbered without a gap, never one lost in silence.

use socketioxide::extract::SocketRef;
use tokio_util::sync::CancellationToken;

use crate::contract::{Sequenced, ServerEvent};

/// Where a session's events go.
pub(crate) struct Outlet {
    socket: SocketRef,
    /// Cancelled to have the client cut off.
    cut_off: CancellationToken,
}

impl Outlet {
    pub(crate) fn new(socket: SocketRef, cut_off: CancellationToken) -> Self {
        Self { socket, cut_off }
    }
}

/// Numbers events and hands them to the socket.
pub(super) struct Outbox {
    outlet: Outlet,
    last_seq: u64,
}

impl Outbox {
    pub(super) fn new(outlet: Outlet) -> Self {
        Self { outlet, last_seq: 0 }
    }

    /// False when the socket has closed, or does not keep up: then it is closed, so that nothing is missing unnoticed.
    pub(super) fn emit(&mut self, event: &ServerEvent) -> bool {
        let Outlet { socket, cut_off } = &self.outlet;
        let numbered = Sequenced { seq: self.last_seq + 1, event };
        if cut_off.is_cancelled() || socket.emit(event.name(), &numbered).is_err() {
            cut_off.cancel();
            return false;
        }
        self.last_seq += 1;
        true
    }
}
