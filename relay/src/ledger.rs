//! The ledger: who had which allocation, when, and what flowed through it, kept over restarts and crashes.
//!
//! Shards hand over once a second what has changed ([`Feed`]); a thread of its own ([`keeper`]) adds it up in memory and
//! writes it to SQLite ([`database`]). Neither a slow disk nor a full one holds up a shard: what cannot be written is
//! counted, and told in one line.
//!
//! Records follow RADIUS accounting (RFC 2866): start, interim, stop. They are cumulative and numbered, and the sums by
//! day and billing period grow by the difference to what is written already, in the same transaction. Writing one twice
//! therefore changes nothing.

mod database;
mod export;
mod feed;
mod keeper;
mod label;
mod period;
mod published;
mod query;

use std::{
    path::{Path, PathBuf},
    sync::{
        Arc,
        mpsc::{SyncSender, TrySendError, sync_channel},
    },
    thread,
    time::Duration,
};

use tokio::sync::oneshot;
use turnpike_config::Config;
use turnpike_relay_api::{cost::Cost, usage::UsageQuery};

use self::{
    database::Database,
    feed::Batch,
    keeper::{Keeper, Settings},
    label::Labels,
};
pub(crate) use self::{
    export::Export,
    feed::Feed,
    period::{DAY, day_name, day_of},
    published::{Published, Reading, Status},
    query::Unreadable,
};
use crate::{StartError, budget::Budget, clock::Clock, cost::Prices, shard::PUBLISH_EVERY, webhook::Told};

/// Batches of one shard that may wait.
const BATCHES_OF_A_SHARD: usize = 4;
/// How long a query waits for what is in memory to be written, and the end of the process for the last of it.
const WRITTEN_WITHIN: Duration = Duration::from_millis(1_500);

/// What the ledger's thread is told.
enum Message {
    /// What a shard has seen.
    Batch(Batch),
    /// Write everything now.
    Write(oneshot::Sender<()>),
    /// Write everything and end.
    Close(oneshot::Sender<()>),
}

/// The other end of the ledger's thread.
pub(crate) struct Ledger {
    messages: SyncSender<Message>,
    pub(crate) published: Arc<Published>,
    labels: Labels,
    file: PathBuf,
    node: String,
    prices: Prices,
    /// Those that are compared with, as labels of metrics.
    pub(crate) vendors: Vec<&'static str>,
}

impl Ledger {
    /// Opens the database, closes the records that a crash left open, and starts the thread. A database that cannot be
    /// opened is no reason not to relay.
    ///
    /// # Errors
    /// [`StartError::System`] when there is no thread.
    pub(crate) fn start(
        config: &Config,
        clock: Clock,
        budget: Arc<Budget>,
        webhook: Option<Told>,
    ) -> Result<Self, StartError> {
        let state_dir = &config.node.state_dir;
        let labels = Labels::new(&config.usage, &config.metrics.tenants, state_dir);
        let file = state_dir.join("usage.db");
        let published = Arc::new(Published::new(&config.metrics.tenants));
        let (messages, inbox) = sync_channel(BATCHES_OF_A_SHARD * config.relay.shards.max(1));
        let prices = Prices::new(&config.cost);
        // Once a process.
        let vendors = prices.vendors().map(|vendor| &*vendor.to_owned().leak()).collect();
        let settings = Settings {
            file: file.clone(),
            interim: config.usage.interim.saturating_sub(PUBLISH_EVERY),
            retention_days: config.usage.retention_days,
            reset_day: config.cost.reset_day,
            billing: prices.billing(),
            budget,
            webhook,
            labels: labels.clone(),
        };
        let keeper = Keeper::open(settings, clock, Arc::clone(&published));
        let spawned = thread::Builder::new().name("ledger".to_owned()).spawn(move || keeper.run(&inbox));
        spawned.map_err(|source| StartError::System { what: "there is no thread for the ledger", source })?;
        Ok(Self { messages, published, labels, file, node: config.node.name.clone(), vendors, prices })
    }

    /// Where one shard puts what it sees.
    pub(crate) fn feed(&self) -> Feed {
        Feed::new(self.messages.clone(), Arc::clone(&self.published))
    }

    /// What is asked for, with everything that shards have told until now.
    ///
    /// # Errors
    /// [`Unreadable`] when the database cannot be read.
    pub(crate) async fn usage(&self, query: UsageQuery) -> Result<Export, Unreadable> {
        self.tell(Message::Write).await;
        let (file, labels, billing) = (self.file.clone(), self.labels.clone(), self.prices.billing());
        let read = move || query::read(&Database::open_to_read(&file)?, &query, &labels, billing);
        let mut usage = tokio::task::spawn_blocking(read).await.map_err(|_| Unreadable::Failed)??;
        usage.price = self.cost().price.map(|price| price.byte);
        Ok(Export::new(usage, self.node.clone()))
    }

    /// The account of the billing period.
    pub(crate) fn cost(&self) -> Cost {
        self.prices.report(&self.published.reading())
    }

    /// Writes the last of it.
    pub(crate) async fn close(&self) {
        if !self.tell(Message::Close).await {
            tracing::warn!(
                code = "ledger_not_closed",
                file = %self.file.display(),
                "the ledger did not take its last records in time: allocations of the last seconds will be shown as \
                 lost; look whether the disk of node.state_dir is full or slow"
            );
        }
    }

    /// Whether it was done in time.
    async fn tell(&self, message: impl Fn(oneshot::Sender<()>) -> Message) -> bool {
        let telling = async {
            loop {
                let (reply, done) = oneshot::channel();
                match self.messages.try_send(message(reply)) {
                    Ok(()) => return done.await.is_ok(),
                    Err(TrySendError::Full(_)) => tokio::time::sleep(Duration::from_millis(10)).await,
                    Err(TrySendError::Disconnected(_)) => return false,
                }
            }
        };
        tokio::time::timeout(WRITTEN_WITHIN, telling).await.unwrap_or(false)
    }

    /// The database's file.
    pub(crate) fn file(&self) -> &Path {
        &self.file
    }
}
