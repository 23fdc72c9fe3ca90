//! What HTTP handlers read: the shards' published snapshots and the process-wide counts.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::sync::oneshot;
use turnpike_relay_api::admin::{Session, Sessions, Status};

use crate::{
    shard::{Command, Handle, Node},
    snapshot::Snapshot,
};

/// The version of this relay.
pub(crate) const VERSION: &str = env!("CARGO_PKG_VERSION");
/// A shard that has published nothing for this long hangs.
const HANGS_AFTER: Duration = Duration::from_secs(5);
/// How long a shard may take to answer a command.
const ANSWERS_WITHIN: Duration = Duration::from_secs(2);

/// One relay as seen from outside its shards.
pub(crate) struct View {
    pub(crate) node: Node,
    pub(crate) name: String,
    pub(crate) udp: Vec<SocketAddr>,
    pub(crate) shards: Vec<Handle>,
    pub(crate) draining: AtomicBool,
}

/// A shard did not answer in time.
#[derive(Debug)]
pub(crate) struct Busy;

impl View {
    /// The sum of the last snapshots.
    pub(crate) fn snapshot(&self) -> Snapshot {
        self.node.board.sum()
    }

    pub(crate) fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Acquire)
    }

    /// Whether every shard has lately been through its loop.
    pub(crate) fn is_alive(&self) -> bool {
        self.node.clock.uptime().saturating_sub(self.snapshot().at) < HANGS_AFTER
    }

    /// What the relay is doing.
    pub(crate) fn status(&self) -> Status {
        let snapshot = self.snapshot();
        Status {
            node: self.name.clone(),
            version: VERSION.to_owned(),
            uptime_seconds: self.node.clock.uptime().as_secs(),
            draining: self.is_draining(),
            advertised_ipv4: self.node.shared.limits.advertised.to_string(),
            listen_udp: self.udp.clone(),
            shards: self.shards.len(),
            allocations: snapshot.total_allocations(),
            allocations_limit: self.node.shared.limits.allocations as u64,
            allocations_created: snapshot.counters.allocations_created,
            traffic: snapshot.total_traffic(),
        }
    }

    /// The live allocations, each shard's in one piece.
    ///
    /// # Errors
    /// [`Busy`] when a shard does not answer in time.
    pub(crate) async fn sessions(&self) -> Result<Sessions, Busy> {
        let asked: Option<Vec<oneshot::Receiver<Vec<Session>>>> = self
            .shards
            .iter()
            .map(|shard| {
                let (reply, answer) = oneshot::channel();
                shard.tell(Command::Sessions(reply)).then_some(answer)
            })
            .collect();
        let answers = async {
            let mut sessions = Vec::new();
            for answer in asked.ok_or(Busy)? {
                sessions.extend(answer.await.map_err(|_| Busy)?);
            }
            Ok(Sessions { sessions })
        };
        tokio::time::timeout(ANSWERS_WITHIN, answers).await.unwrap_or(Err(Busy))
    }

    /// Tells every shard to refuse new allocations.
    pub(crate) fn drain(&self) {
        self.draining.store(true, Ordering::Release);
        self.shards.iter().for_each(|shard| shard.insist(Command::Drain));
    }
}

/// What handlers are given.
pub(crate) type SharedView = Arc<View>;
