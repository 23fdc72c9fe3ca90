//! A shard's end of the ledger: it gathers for a second and hands over without ever waiting.

use std::{
    mem,
    net::IpAddr,
    sync::{
        Arc,
        mpsc::{SyncSender, TrySendError},
    },
    thread,
    time::Duration,
};

use turnpike_proto::{Allocation, AllocationId, Cause, Closed, Now, Server, Transport};
use turnpike_relay_api::admin::Traffic;

use super::{Message, Published, Status};

/// Beginnings and ends that a shard keeps while the ledger takes nothing.
const MOST_WAITING: usize = 65_536;
/// How long the last batch of a shard waits for room.
const LAST_WITHIN: Duration = Duration::from_millis(500);

/// What a shard has seen since its last batch.
#[derive(Debug, Default)]
pub(super) struct Batch {
    /// Unix time in seconds.
    pub(super) at: u64,
    pub(super) opened: Vec<Opened>,
    pub(super) live: Vec<(AllocationId, Traffic)>,
    pub(super) closed: Vec<Ended>,
}

/// An allocation that was made.
#[derive(Debug, Clone)]
pub(super) struct Opened {
    pub(super) id: AllocationId,
    pub(super) subject: Box<str>,
    pub(super) transport: Transport,
    pub(super) client: IpAddr,
    /// Unix time in seconds.
    pub(super) at: u64,
}

/// One that has ended.
#[derive(Debug, Clone)]
pub(super) struct Ended {
    pub(super) id: AllocationId,
    pub(super) cause: Cause,
    /// Unix time in seconds.
    pub(super) at: u64,
    pub(super) traffic: Traffic,
}

/// What one shard hands over.
pub(crate) struct Feed {
    messages: SyncSender<Message>,
    published: Arc<Published>,
    opened: Vec<Opened>,
    closed: Vec<Ended>,
}

impl Feed {
    pub(super) fn new(messages: SyncSender<Message>, published: Arc<Published>) -> Self {
        Self { messages, published, opened: Vec::new(), closed: Vec::new() }
    }

    /// An allocation serves from now on.
    pub(crate) fn opened(&mut self, allocation: &Allocation, now: Now) {
        if self.opened.len() >= MOST_WAITING {
            return self.published.dropped(Status::Start, 1);
        }
        let client = allocation.five_tuple();
        self.opened.push(Opened {
            id: allocation.id(),
            subject: allocation.subject().into(),
            transport: client.transport,
            client: client.client.ip(),
            at: now.unix,
        });
    }

    /// An allocation has ended.
    pub(crate) fn closed(&mut self, closed: &Closed, now: Now) {
        if self.closed.len() >= MOST_WAITING {
            return self.published.dropped(Status::Stop, 1);
        }
        let ago = now.mono.saturating_sub(closed.closed).as_secs();
        self.closed.push(Ended {
            id: closed.id,
            cause: closed.cause,
            at: now.unix.saturating_sub(ago),
            traffic: closed.traffic.total(),
        });
    }

    /// Hands over what there is. What the ledger has no room for waits here, but for counters, which the next batch has
    /// again.
    pub(crate) fn publish(&mut self, server: &Server, now: Now) {
        let batch = self.batch(server, now);
        if let Err(
            TrySendError::Full(Message::Batch(batch)) | TrySendError::Disconnected(Message::Batch(batch)),
        ) = self.messages.try_send(Message::Batch(batch))
        {
            self.published.dropped(Status::Interim, batch.live.len() as u64);
            self.opened = batch.opened;
            self.closed = batch.closed;
        }
    }

    /// Hands over the last there is, and waits a moment for room.
    pub(crate) fn finish(&mut self, server: &Server, now: Now) {
        let mut message = Message::Batch(self.batch(server, now));
        let pause = Duration::from_millis(5);
        for _ in 0..LAST_WITHIN.as_millis() / pause.as_millis() {
            match self.messages.try_send(message) {
                Ok(()) => return,
                Err(TrySendError::Full(back)) => message = back,
                Err(TrySendError::Disconnected(_)) => break,
            }
            thread::sleep(pause);
        }
    }

    fn batch(&mut self, server: &Server, now: Now) -> Batch {
        let live = |(_, allocation): (_, &Allocation)| (allocation.id(), allocation.traffic().total());
        Batch {
            at: now.unix,
            opened: mem::take(&mut self.opened),
            live: server.allocations().map(live).collect(),
            closed: mem::take(&mut self.closed),
        }
    }
}
