//! What HTTP handlers read: the shards' published snapshots and the process-wide counts.

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::sync::oneshot;
use turnpike_proto::{Cause, Family};
use turnpike_relay_api::{
    admin::{Revoke, Revoked, Sessions, Status, Unrevoked},
    target::Target,
};

use crate::{
    ledger::Ledger,
    metrics::host::Devices,
    reload::LastReload,
    shard::{Command, Handle, Holder, Node},
    snapshot::Snapshot,
    upkeep::Upkeep,
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
    pub(crate) ledger: Ledger,
    pub(crate) devices: Devices,
    pub(crate) name: String,
    pub(crate) udp: Vec<SocketAddr>,
    pub(crate) tcp: Vec<SocketAddr>,
    pub(crate) tls: Vec<SocketAddr>,
    pub(crate) shards: Vec<Handle>,
    pub(crate) draining: AtomicBool,
    /// It drains in order to end.
    pub(crate) leaving: AtomicBool,
    pub(crate) config_reload: LastReload,
    pub(crate) upkeep: Upkeep,
    /// Held while the shards are told, so that all of them hear the same last word.
    pub(crate) switching: Mutex<()>,
}

/// A shard did not answer in time.
#[derive(Debug)]
pub(crate) struct Busy;

/// The relay is about to end.
#[derive(Debug)]
pub(crate) struct Leaving;

/// Longest life of a credential that is minted here, in seconds.
const LONGEST_CREDENTIAL: u64 = 86_400;

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
            advertised_ipv4: self.advertised(Family::Ipv4),
            advertised_ipv6: self.advertised(Family::Ipv6),
            listen_udp: self.udp.clone(),
            listen_tcp: self.tcp.clone(),
            listen_tls: self.tls.clone(),
            shards: self.shards.len(),
            allocations: self.node.shared.allocations() as u64,
            allocations_limit: self.node.shared.limits.allocations as u64,
            allocations_created: snapshot.counters.allocations_created.total(),
            traffic: snapshot.total_traffic(),
            budget: self.node.budget.spent(),
            waiting_for_restart: self.upkeep.waiting_for_restart(),
            certificate: self.node.tls.as_ref().map(|tls| tls.status()),
        }
    }

    /// Empty where nothing is relayed.
    fn advertised(&self, family: Family) -> String {
        let relay = self.node.shared.limits.relayed[family];
        relay.map(|relay| relay.advertised.to_string()).unwrap_or_default()
    }

    /// The live allocations, each shard's in one piece.
    ///
    /// # Errors
    /// [`Busy`] when a shard does not answer in time.
    pub(crate) async fn sessions(&self) -> Result<Sessions, Busy> {
        self.ask_all(Command::Sessions).await.map(|sessions| Sessions { sessions })
    }

    /// Ends allocations, whose sockets are closed when this returns, and tells whose they were.
    ///
    /// # Errors
    /// [`Busy`] when a shard does not answer in time.
    pub(crate) async fn end(&self, target: &Target) -> Result<Vec<Holder>, Busy> {
        let target = Arc::new(target.clone());
        self.ask_all(|reply| Command::End(Arc::clone(&target), Cause::Revoked, reply)).await
    }

    /// Ends allocations and refuses their credentials. The list comes first, so that nobody slips in between.
    ///
    /// # Errors
    /// [`Busy`] when a shard does not answer in time; the credentials are refused then as well.
    pub(crate) async fn revoke(self: &Arc<Self>, revoke: Revoke) -> Result<Revoked, Busy> {
        let default = self.node.clock.now().unix + LONGEST_CREDENTIAL;
        let Revoke { target, until } = revoke;
        let (mut ended, mut latest) = (0, until.unwrap_or(default));
        let credentials = match target {
            Target::Allocation(_) => {
                let holders = self.end(&target).await?;
                ended = holders.len();
                latest = 0;
                let of = |holder: Holder| {
                    let until = until.or(holder.credential_expires).unwrap_or(default);
                    (Target::credential_of(&holder.subject), until)
                };
                holders.into_iter().map(of).collect()
            }
            other => vec![(other, latest)],
        };
        let mut all_answered = Ok(());
        for (credential, until) in credentials {
            latest = latest.max(self.node.revocations.insert(credential.clone(), until));
            match self.end(&credential).await {
                Ok(holders) => ended += holders.len(),
                Err(busy) => all_answered = Err(busy),
            }
            match &credential {
                // Signaling says so of every call.
                Target::Pair(_) if ended == 0 => {
                    tracing::debug!(kind = credential.kind(), name = credential.name(), until, "revoked");
                }
                _ => {
                    tracing::info!(
                        kind = credential.kind(),
                        name = credential.name(),
                        until,
                        ended,
                        "revoked"
                    )
                }
            }
        }
        let saved = self.save_revocations().await;
        all_answered.map(|()| Revoked { ended: ended as u64, until: latest, saved })
    }

    /// Takes a revocation back.
    pub(crate) async fn unrevoke(self: &Arc<Self>, target: &Target) -> Unrevoked {
        let removed = self.node.revocations.remove(target);
        if removed {
            tracing::info!(kind = target.kind(), name = target.name(), "revocation taken back");
        }
        Unrevoked { removed, saved: self.save_revocations().await }
    }

    /// Refuses new allocations from now on.
    pub(crate) fn drain(&self) {
        self.switch(true);
    }

    /// Refuses new allocations from now on, because this process ends.
    pub(crate) fn leave(&self) {
        self.leaving.store(true, Ordering::Release);
        self.switch(true);
    }

    /// Makes new allocations again.
    ///
    /// # Errors
    /// [`Leaving`].
    pub(crate) fn undrain(&self) -> Result<(), Leaving> {
        match self.switch(false) {
            true => Ok(()),
            false => Err(Leaving),
        }
    }

    /// False when a relay that leaves was to take new allocations.
    fn switch(&self, draining: bool) -> bool {
        let _only_one = self.switching.lock().unwrap_or_else(PoisonError::into_inner);
        if !draining && self.leaving.load(Ordering::Acquire) {
            return false;
        }
        self.draining.store(draining, Ordering::Release);
        self.shards.iter().for_each(|shard| shard.insist(Command::Draining(draining)));
        true
    }

    async fn save_revocations(self: &Arc<Self>) -> bool {
        let view = Arc::clone(self);
        let saved = tokio::task::spawn_blocking(move || view.node.revocations.save()).await;
        let error = match saved {
            Ok(Ok(())) => return true,
            Ok(Err(error)) => error,
            Err(error) => error.into(),
        };
        tracing::warn!(
            code = "revocations_not_saved",
            %error,
            "a revocation is in force but could not be written: it will be forgotten at a restart; make room in \
             node.state_dir or its permissions right, and revoke again"
        );
        false
    }

    /// Asks every shard and puts their answers together.
    async fn ask_all<T>(&self, command: impl Fn(oneshot::Sender<Vec<T>>) -> Command) -> Result<Vec<T>, Busy> {
        let asked: Option<Vec<_>> = self
            .shards
            .iter()
            .map(|shard| {
                let (reply, answer) = oneshot::channel();
                shard.tell(command(reply)).then_some(answer)
            })
            .collect();
        let answers = async {
            let mut all = Vec::new();
            for answer in asked.ok_or(Busy)? {
                all.extend(answer.await.map_err(|_| Busy)?);
            }
            Ok(all)
        };
        tokio::time::timeout(ANSWERS_WITHIN, answers).await.unwrap_or(Err(Busy))
    }
}

/// What handlers are given.
pub(crate) type SharedView = Arc<View>;
