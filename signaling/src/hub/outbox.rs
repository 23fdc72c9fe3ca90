//! The way to one client: events numbered without a gap, never one lost in silence. The last ones are kept, so that a
//! socket that takes over from one that was lost begins where that one ended.

use std::{collections::VecDeque, time::Duration};

use serde::{Deserialize, Serialize};
use serde_json::Value;
use socketioxide::extract::SocketRef;
use tokio_util::sync::CancellationToken;

use crate::contract::{Sequenced, ServerEvent};

/// Most events that are kept, and most bytes of them.
const KEPT: (usize, usize) = (64, 64 * 1024);
/// A live socket has brought what is older: a dead one is noticed after 10 s and 5 s for the pong.
const KEPT_FOR: Duration = Duration::from_secs(20);

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

/// What became of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Emitted {
    /// The socket has it.
    Sent,
    /// Kept for the socket to come.
    Kept,
    /// More than may be kept: this session cannot be resumed any more.
    Lost,
}

/// Numbers events, keeps the last ones and hands them to the socket, while there is one.
pub(super) struct Outbox {
    outlet: Option<Outlet>,
    /// How many sockets there have been: which of them a task speaks for.
    attachment: u64,
    last_seq: u64,
    /// The last events, up to `last_seq` without a gap.
    kept: VecDeque<Kept>,
    bytes: usize,
    /// Some that no socket has brought are no longer kept.
    torn: bool,
}

struct Kept {
    at: Duration,
    name: &'static str,
    /// With its `seq`.
    json: Box<str>,
}

/// What outlives a process.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct KeptOutbox {
    last_seq: u64,
    /// By name and as JSON, up to `last_seq` without a gap.
    events: Vec<(String, Box<str>)>,
}

impl Outbox {
    pub(super) fn new(outlet: Outlet) -> Self {
        Self {
            outlet: Some(outlet),
            attachment: 1,
            last_seq: 0,
            kept: VecDeque::new(),
            bytes: 0,
            torn: false,
        }
    }

    /// What is left of it; `None` when it cannot be gone on with.
    pub(super) fn into_kept(self) -> Option<KeptOutbox> {
        let events = self.kept.into_iter().map(|kept| (kept.name.to_owned(), kept.json)).collect();
        (!self.torn).then_some(KeptOutbox { last_seq: self.last_seq, events })
    }

    /// Goes on, without a socket yet. What cannot be an event is not brought to anybody.
    pub(super) fn from_kept(now: Duration, left: KeptOutbox) -> Self {
        let count = left.events.len();
        let event = |(name, json): (String, Box<str>)| {
            let name = ServerEvent::NAMES.iter().find(|known| **known == name)?;
            serde_json::from_str::<Value>(&json).ok()?;
            Some(Kept { at: now, name, json })
        };
        let kept: VecDeque<Kept> = left.events.into_iter().filter_map(event).collect();
        Self {
            outlet: None,
            attachment: 0,
            last_seq: left.last_seq,
            torn: kept.len() != count || kept.len() as u64 > left.last_seq,
            bytes: kept.iter().map(|kept| kept.json.len()).sum(),
            kept,
        }
    }

    /// Which socket this is the way through.
    pub(super) fn attachment(&self) -> u64 {
        self.attachment
    }

    /// Takes an event in its turn. A socket that does not keep up is closed, so that nothing is missing unnoticed.
    pub(super) fn emit(&mut self, now: Duration, event: &ServerEvent) -> Emitted {
        self.last_seq += 1;
        let numbered = Sequenced { seq: self.last_seq, event };
        let json = serde_json::to_string(&numbered).expect("an event is JSON").into_boxed_str();
        self.bytes += json.len();
        self.kept.push_back(Kept { at: now, name: event.name(), json });
        if self.hand_over(|socket| socket.emit(event.name(), &numbered).is_ok()) {
            self.trim(now);
            return Emitted::Sent;
        }
        if self.torn || self.is_over() {
            self.torn = true;
            self.kept.clear();
            self.bytes = 0;
            return Emitted::Lost;
        }
        Emitted::Kept
    }

    /// Whether a socket whose client knows the events up to `seq` can take over without a gap.
    pub(super) fn reaches(&self, seq: u64) -> bool {
        !self.torn && seq <= self.last_seq && self.last_seq - seq <= self.kept.len() as u64
    }

    /// Goes on through another socket, whose client knows the events up to `seq`; the one before is closed. The new one is
    /// greeted out of the count, then brought what is missing; how many events that was.
    pub(super) fn attach(&mut self, outlet: Outlet, seq: u64, greeting: &ServerEvent) -> usize {
        if let Some(before) = self.outlet.replace(outlet) {
            before.cut_off.cancel();
        }
        self.attachment += 1;
        while self.last_seq - seq < self.kept.len() as u64 {
            self.forget_first();
        }
        self.hand_over(|socket| socket.emit(greeting.name(), &Sequenced { seq, event: greeting }).is_ok());
        let missed = std::mem::take(&mut self.kept);
        for Kept { name, json, .. } in &missed {
            let event: Value = serde_json::from_str(json).expect("what was written as JSON is JSON");
            self.hand_over(|socket| socket.emit(*name, &event).is_ok());
        }
        self.kept = missed;
        self.kept.len()
    }

    /// The socket has closed.
    pub(super) fn detach(&mut self) {
        self.outlet = None;
    }

    /// The session is over: so is its socket.
    pub(super) fn close(&self) {
        if let Some(outlet) = &self.outlet {
            outlet.cut_off.cancel();
        }
    }

    /// Something is missing that can never be brought.
    pub(super) fn is_torn(&self) -> bool {
        self.torn
    }

    /// False when there is no live socket; one that does not take it is cut off.
    fn hand_over(&self, emit: impl FnOnce(&SocketRef) -> bool) -> bool {
        let Some(Outlet { socket, cut_off }) = self.outlet.as_ref().filter(|o| !o.cut_off.is_cancelled())
        else {
            return false;
        };
        let taken = emit(socket);
        if !taken {
            cut_off.cancel();
        }
        taken
    }

    fn trim(&mut self, now: Duration) {
        while self.is_over() || self.kept.front().is_some_and(|first| first.at + KEPT_FOR < now) {
            self.forget_first();
        }
    }

    fn is_over(&self) -> bool {
        self.kept.len() > KEPT.0 || self.bytes > KEPT.1
    }

    fn forget_first(&mut self) {
        if let Some(first) = self.kept.pop_front() {
            self.bytes -= first.json.len();
        }
    }
}
