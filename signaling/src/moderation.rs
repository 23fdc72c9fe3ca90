//! Reports, blocks and bans: who is reported often is banned, and stays so over a restart.
//!
//! Bans in force are held in memory, where every socket that opens is checked. SQLite is written and read by a thread of its
//! own, so that nobody waits for a disk.

mod bans;
mod database;

use std::{
    net::IpAddr,
    path::Path,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel},
    },
    thread,
    time::Duration,
};

use sha2::{Digest as _, Sha256};
use tokio::sync::oneshot;
use turnpike_config::source_prefix;
use turnpike_matching::Id;

use self::{bans::Bans, database::Database};
pub(crate) use self::{
    bans::{Ban, Cause},
    database::{Filed, Known},
};
use crate::{clock::Clock, metrics::Metrics, random};

/// What may wait for the disk; what is more is dropped, and counted.
const WAITING: usize = 4096;
/// How often what is too old is removed.
const SWEEP: Duration = Duration::from_secs(3600);
/// Reports of the last week count towards a ban.
const COUNTED_FOR: Duration = Duration::from_secs(7 * 86_400);
/// An address is shared by people who have done nothing: it is closed for this long at most.
const ADDRESS_FOR: Duration = Duration::from_secs(3600);
const FINISH_WITHIN: Duration = Duration::from_millis(500);

/// When reports become a ban.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rule {
    /// 0: never.
    pub(crate) reports: u32,
    pub(crate) lasts: Duration,
}

/// Somebody, as far as signaling knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Person {
    /// A label of the token that the browser holds.
    pub(crate) device: Option<Id>,
    /// IPv4 address or IPv6 /64.
    pub(crate) network: IpAddr,
}

impl Person {
    pub(crate) fn new(device: Option<Id>, address: IpAddr) -> Self {
        Self { device, network: source_prefix(address) }
    }
}

/// The label of a device token. The token itself is kept nowhere: who reads the database cannot pass for its holder.
pub(crate) fn device_of(token: Id) -> Id {
    let digest = Sha256::new().chain_update(b"turnpike device ").chain_update(token.to_string()).finalize();
    Id::new(digest[..16].try_into().expect("a digest of SHA-256 has 32 bytes"))
}

/// What the disk could not be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct NotKept;

type Answer<T> = oneshot::Sender<Result<T, NotKept>>;

enum Request {
    File(Box<Filed>),
    Block(Id, Id),
    Ban(Ban, Answer<()>),
    Unban(Id, Answer<()>),
    Reports { before: Option<i64>, limit: u32, answer: Answer<Vec<Known>> },
    Finish(oneshot::Sender<()>),
}

/// What others see of it.
pub(crate) struct Moderation {
    requests: SyncSender<Request>,
    bans: Mutex<Bans>,
    clock: Clock,
    metrics: Arc<Metrics>,
}

/// The side of the disk, before its thread has started.
pub(crate) struct Clerk {
    database: Database,
    requests: Receiver<Request>,
    rule: Rule,
    clock: Clock,
    metrics: Arc<Metrics>,
}

/// Opens what is kept in the state folder; where that cannot be done it is told, and all is forgotten with the process.
pub(crate) fn open(
    folder: &Path,
    rule: Rule,
    clock: Clock,
    metrics: &Arc<Metrics>,
) -> (Arc<Moderation>, Clerk) {
    let database = open_database(&folder.join("moderation.db"));
    let (sender, receiver) = sync_channel(WAITING);
    let mut bans = Bans::default();
    let now = clock.unix().as_secs();
    for ban in database.bans(now).unwrap_or_default() {
        bans.put(ban);
    }
    let moderation =
        Moderation { requests: sender, bans: Mutex::new(bans), clock, metrics: Arc::clone(metrics) };
    moderation.gauge();
    let clerk = Clerk { database, requests: receiver, rule, clock, metrics: Arc::clone(metrics) };
    (Arc::new(moderation), clerk)
}

fn open_database(file: &Path) -> Database {
    Database::open(file).unwrap_or_else(|error| {
        tracing::warn!(
            code = "moderation_not_kept",
            file = %file.display(),
            %error,
            "reports, blocks and bans cannot be kept, and are forgotten when this process ends: make the folder \
             writable for the user that runs turnpike, or move a broken file away, and restart"
        );
        Database::in_memory().expect("SQLite opens a database in memory")
    })
}

impl Moderation {
    /// The ban that keeps somebody out, if there is one.
    pub(crate) fn ban_of(&self, person: &Person) -> Option<Ban> {
        self.bans().of(person, self.clock.unix().as_secs())
    }

    /// Bans in force, the newest first.
    pub(crate) fn list(&self) -> Vec<Ban> {
        self.bans().list(self.clock.unix().as_secs())
    }

    /// Files a report; what comes of it is for the thread to find out.
    pub(crate) fn file(&self, report: Filed) {
        self.metrics.reports.inc();
        self.tell(Request::File(Box::new(report)));
    }

    /// Keeps that these two are never matched.
    pub(crate) fn block(&self, blocker: Id, blocked: Id) {
        self.tell(Request::Block(blocker, blocked));
    }

    /// Bans at once.
    ///
    /// # Errors
    /// [`NotKept`] when it holds until the end of this process alone.
    pub(crate) async fn ban(&self, ban: Ban) -> Result<(), NotKept> {
        self.put(&ban);
        self.ask(|answer| Request::Ban(ban, answer)).await
    }

    /// Takes a ban of another node, which has told its operator whether it is kept.
    pub(crate) fn take(&self, ban: &Ban) {
        self.put(ban);
        self.tell(Request::Ban(ban.clone(), oneshot::channel().0));
    }

    /// Lifts a ban as another node has done.
    pub(crate) fn lift(&self, id: Id) {
        if self.bans().remove(id) {
            self.gauge();
            self.tell(Request::Unban(id, oneshot::channel().0));
        }
    }

    /// Lifts a ban; false when there is none of this id.
    ///
    /// # Errors
    /// [`NotKept`] when it comes back with the next start.
    pub(crate) async fn unban(&self, id: Id) -> Result<bool, NotKept> {
        if !self.bans().remove(id) {
            return Ok(false);
        }
        self.gauge();
        self.ask(|answer| Request::Unban(id, answer)).await.map(|()| true)
    }

    /// The newest reports, before one of them.
    ///
    /// # Errors
    /// [`NotKept`] when they cannot be read.
    pub(crate) async fn reports(&self, before: Option<i64>, limit: u32) -> Result<Vec<Known>, NotKept> {
        self.ask(|answer| Request::Reports { before, limit, answer }).await
    }

    /// Waits until what was told is on the disk.
    pub(crate) async fn finish(&self) {
        let (answer, done) = oneshot::channel();
        if self.requests.try_send(Request::Finish(answer)).is_ok() {
            // What is not written by then is lost.
            let _ = tokio::time::timeout(FINISH_WITHIN, done).await;
        }
    }

    /// Counts a ban that is in force.
    fn put(&self, ban: &Ban) {
        self.bans().put(ban.clone());
        self.gauge();
        tracing::info!(ban = %ban.id, cause = ban.cause.name(), device = ban.device.is_some(), network = ?ban.network, "banned");
    }

    async fn ask<T>(&self, request: impl FnOnce(Answer<T>) -> Request) -> Result<T, NotKept> {
        let (answer, answered) = oneshot::channel();
        self.tell(request(answer));
        answered.await.unwrap_or(Err(NotKept))
    }

    fn tell(&self, request: Request) {
        if self.requests.try_send(request).is_err() {
            self.metrics.moderation_dropped.inc();
        }
    }

    fn gauge(&self) {
        let count = self.bans().list(self.clock.unix().as_secs()).len();
        self.metrics.bans.set(count as i64);
    }

    fn bans(&self) -> MutexGuard<'_, Bans> {
        self.bans.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Clerk {
    /// Those who are never matched, the oldest block first.
    pub(crate) fn blocks(&self) -> Vec<(Id, Id)> {
        self.database.blocks().unwrap_or_default()
    }

    /// Starts the thread, which ends with the last [`Moderation`]. `enforce` is told of each ban that reports have led to.
    pub(crate) fn start(self, moderation: &Arc<Moderation>, enforce: impl Fn(&Ban) + Send + 'static) {
        let moderation = Arc::downgrade(moderation);
        let enact = move |ban: &Ban| {
            if let Some(moderation) = moderation.upgrade() {
                moderation.put(ban);
                enforce(ban);
            }
        };
        let started = thread::Builder::new().name("moderation".to_owned()).spawn(move || self.work(enact));
        if let Err(error) = started {
            tracing::warn!(code = "moderation_not_kept", %error, "no thread for reports and bans: none is kept");
        }
    }

    fn work(mut self, enact: impl Fn(&Ban)) {
        self.sweep();
        loop {
            match self.requests.recv_timeout(SWEEP) {
                Ok(request) => self.take(request, &enact),
                Err(RecvTimeoutError::Timeout) => self.sweep(),
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    fn take(&mut self, request: Request, enact: &impl Fn(&Ban)) {
        let now = self.clock.unix().as_secs();
        match request {
            Request::File(report) => {
                let since = now.saturating_sub(COUNTED_FOR.as_secs());
                let counted = self.database.file(&report, since);
                if let Some(count) = self.kept(counted)
                    && self.rule.reports > 0
                    && count >= self.rule.reports
                {
                    self.ban_for_reports(&report.about, now, enact);
                }
            }
            Request::Block(blocker, blocked) => {
                let kept = self.database.block(blocker, blocked, now);
                self.kept(kept);
            }
            Request::Ban(ban, answer) => {
                let kept = self.database.ban(&ban);
                // Who asked may have gone.
                let _ = answer.send(self.kept(kept).ok_or(NotKept));
            }
            Request::Unban(id, answer) => {
                let kept = self.database.unban(id);
                let _ = answer.send(self.kept(kept).ok_or(NotKept));
            }
            Request::Reports { before, limit, answer } => {
                let read = self.database.reports(before, limit);
                let _ = answer.send(self.kept(read).ok_or(NotKept));
            }
            Request::Finish(answer) => {
                let _ = answer.send(());
            }
        }
    }

    /// The browser for as long as the rule says, and its address for an hour: another browser is opened quickly.
    fn ban_for_reports(&mut self, about: &Person, now: u64, enact: &impl Fn(&Ban)) {
        let settled = self.database.settle(about);
        self.kept(settled);
        let new = |device, network, lasts: Duration| Ban {
            id: random::id(),
            device,
            network,
            cause: Cause::Reports,
            note: String::new(),
            created: now,
            until: now + lasts.as_secs(),
        };
        let lasts = self.rule.lasts;
        let device = about.device.map(|device| new(Some(device), None, lasts));
        let network = new(None, Some(about.network), lasts.min(ADDRESS_FOR));
        for ban in device.into_iter().chain([network]) {
            let kept = self.database.ban(&ban);
            self.kept(kept);
            enact(&ban);
        }
    }

    fn sweep(&mut self) {
        let swept = self.database.sweep(self.clock.unix().as_secs());
        self.kept(swept);
    }

    /// Tells what could not be kept.
    fn kept<T>(&self, result: rusqlite::Result<T>) -> Option<T> {
        result
            .inspect_err(|error| {
                self.metrics.moderation_dropped.inc();
                tracing::warn!(
                    code = "moderation_not_kept",
                    %error,
                    "a report, block or ban could not be written or read: see that the state folder has room and is writable"
                );
            })
            .ok()
    }
}
