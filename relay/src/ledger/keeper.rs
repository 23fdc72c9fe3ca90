//! The ledger's thread: what the shards tell, added up in memory and written every few seconds.

use std::{
    collections::{HashMap, VecDeque},
    path::PathBuf,
    sync::{
        Arc,
        mpsc::{Receiver, RecvTimeoutError},
    },
    time::Duration,
};

use turnpike_proto::{AllocationId, Family, Label as _};
use turnpike_relay_api::{
    admin::Traffic,
    cost::Step,
    usage::{Billing, Record},
};

use super::{
    Message, Published, Status,
    database::{Database, Fault, Growth, difference},
    feed::{Batch, Ended, Opened},
    label::Labels,
    period::{DAY, day_of, next_period, period_start},
};
use crate::{budget::Budget, clock::Clock, webhook::Told};

/// Ended allocations that wait to be written while the database takes nothing.
const MOST_WAITING: usize = 65_536;
/// How often records are looked through for those past their time.
const SWEEP_EVERY: Duration = Duration::from_secs(3600);
/// A clock that goes back further than this was wrong before.
const CLOCK_SLACK: u64 = 60;
/// Days whose sums are kept in memory: today and a week.
const DAYS: i64 = 8;

/// What a keeper goes by.
pub(super) struct Settings {
    pub(super) file: PathBuf,
    /// How often is written: what a shard tells is up to a second old, so that a crash loses a second more.
    pub(super) interim: Duration,
    pub(super) retention_days: u32,
    pub(super) reset_day: u8,
    pub(super) billing: Billing,
    pub(super) budget: Arc<Budget>,
    /// Where changes of its step are told; absent where nobody is.
    pub(super) webhook: Option<Told>,
    pub(super) labels: Labels,
}

/// An allocation whose record is not closed in the database.
struct Entry {
    record: Record,
    is_written: bool,
    /// It differs from what is written.
    is_dirty: bool,
}

pub(super) struct Keeper {
    settings: Settings,
    clock: Clock,
    published: Arc<Published>,
    /// Absent while it cannot be opened.
    database: Option<Database>,
    entries: HashMap<AllocationId, Entry>,
    /// Those of them that have ended, the first first.
    ended: VecDeque<AllocationId>,
    /// The step that the budget's webhook was told of last.
    told: Step,
    /// Unix time of what was taken in last.
    at: u64,
    write_at: Duration,
    sweep_at: Duration,
    is_failing: bool,
}

impl Keeper {
    pub(super) fn open(settings: Settings, clock: Clock, published: Arc<Published>) -> Self {
        let now = clock.now();
        let mut keeper = Self {
            write_at: now.mono + settings.interim,
            settings,
            clock,
            published,
            database: None,
            entries: HashMap::new(),
            ended: VecDeque::new(),
            told: Step::Ok,
            at: now.unix,
            sweep_at: now.mono,
            is_failing: false,
        };
        keeper.published.change(|reading| (reading.at, reading.began) = (now.unix, now.unix));
        keeper.begin_day();
        match keeper.open_database().and_then(|()| keeper.step_written()) {
            Ok(step) => keeper.told = step,
            Err(fault) => keeper.tell_failure(&fault),
        }
        let written = keeper.told;
        keeper.heed_budget();
        keeper.remind(written);
        keeper
    }

    /// Works until it is told to close, or nobody is left to tell it anything.
    pub(super) fn run(mut self, inbox: &Receiver<Message>) {
        loop {
            let wait = self.write_at.saturating_sub(self.clock.uptime());
            match inbox.recv_timeout(wait) {
                Ok(Message::Batch(batch)) => self.take(batch),
                Ok(Message::Write(done)) => {
                    self.write();
                    // Whoever asked may have given up.
                    let _ = done.send(());
                }
                Ok(Message::Close(done)) => {
                    self.write();
                    drop(self);
                    // Whoever asked may have given up.
                    let _ = done.send(());
                    return;
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return self.write(),
            }
            if self.clock.uptime() >= self.write_at {
                self.write();
            }
        }
    }

    fn take(&mut self, batch: Batch) {
        let Batch { at, opened, live, closed } = batch;
        if at > self.at || at + CLOCK_SLACK < self.at {
            if day_of(at) != day_of(self.at) {
                // What is in hand belongs to the day that ends.
                self.write();
                self.at = at;
                self.begin_day();
            }
            self.at = at;
        }
        for opened in opened {
            self.open_entry(opened);
        }
        let mut growth = HashMap::new();
        for (id, traffic) in live {
            self.update(id, &traffic, &mut growth);
        }
        for Ended { id, cause, at, traffic } in closed {
            self.update(id, &traffic, &mut growth);
            // One whose beginning was dropped is not known.
            if let Some(entry) = self.entries.get_mut(&id) {
                entry.record.ended = Some(at.max(entry.record.started));
                entry.record.cause = Some(cause.name().to_owned());
                entry.is_dirty = true;
                self.ended.push_back(id);
            }
        }
        self.forget_oldest();
        self.publish(growth);
    }

    fn open_entry(&mut self, opened: Opened) {
        let Opened { id, subject, transport, client, at } = opened;
        let labels = &self.settings.labels;
        let record = Record {
            id: id.to_string(),
            subject: labels.subject(&subject),
            pair: labels.pair(&subject),
            tenant: labels.tenant(&subject).to_owned(),
            transport: transport.name().to_owned(),
            family: Family::of(client).name().to_owned(),
            client: labels.client(client),
            started: at,
            updated: at,
            ..Record::default()
        };
        self.entries.insert(id, Entry { record, is_written: false, is_dirty: true });
    }

    fn update(&mut self, id: AllocationId, traffic: &Traffic, growth: &mut HashMap<String, Traffic>) {
        let Some(entry) = self.entries.get_mut(&id) else { return };
        if entry.record.traffic == *traffic {
            return;
        }
        let more = difference(traffic, &entry.record.traffic);
        entry.record.traffic = *traffic;
        entry.record.updated = self.at;
        entry.is_dirty = true;
        match growth.get_mut(&entry.record.tenant) {
            Some(sum) => sum.add(&more),
            None => {
                growth.insert(entry.record.tenant.clone(), more);
            }
        }
    }

    fn forget_oldest(&mut self) {
        while self.ended.len() > MOST_WAITING {
            if let Some(oldest) = self.ended.pop_front() {
                self.entries.remove(&oldest);
                self.published.dropped(Status::Stop, 1);
            }
        }
    }

    fn publish(&mut self, growth: HashMap<String, Traffic>) {
        let (at, today, billing) = (self.at, day_of(self.at), self.settings.billing);
        self.published.change(|reading| {
            reading.at = at;
            for (tenant, traffic) in growth {
                reading.period.add(&traffic);
                match reading.days.iter_mut().find(|(day, _)| *day == today) {
                    Some((_, sum)) => sum.add(&traffic),
                    None => reading.days.push((today, traffic)),
                }
                let known = reading.tenants.iter().position(|(name, _)| *name == tenant);
                let place = known.unwrap_or(reading.tenants.len() - 1);
                reading.tenants[place].1 += billing.bytes(&traffic);
            }
        });
        self.heed_budget();
    }

    /// A new step is written down, with all that it follows from, before it holds.
    fn heed_budget(&mut self) {
        let reading = self.published.reading();
        let Some(spent) = self.settings.budget.at(&reading) else { return };
        let before = std::mem::replace(&mut self.told, spent.step);
        if before != spent.step || self.settings.budget.step() != spent.step {
            self.write();
        }
        self.settings.budget.enter(spent);
        if let Some(webhook) = self.settings.webhook.as_ref().filter(|_| before != spent.step) {
            webhook.tell(self.settings.budget.change(before, spent, &reading));
        }
    }

    /// The last process may have ended before it told of the step that it wrote down and that holds still.
    fn remind(&self, written: Step) {
        let Some(spent) = self.settings.budget.spent() else { return };
        if spent.step == written
            && written != Step::Ok
            && let Some(webhook) = &self.settings.webhook
        {
            webhook.tell(self.settings.budget.change(written, spent, &self.published.reading()));
        }
    }

    /// Turns to the billing period and the days that are counted now. A clock that was wrong may bring back a period.
    fn begin_day(&mut self) {
        let today = day_of(self.at);
        let start = period_start(today, self.settings.reset_day);
        let end = next_period(start, self.settings.reset_day);
        let seen = self.database.as_ref().and_then(|database| database.period(start).ok());
        self.published.change(|reading| {
            if reading.period_start != start {
                reading.period = seen.unwrap_or_default();
            }
            (reading.period_start, reading.period_end) = (start, end);
            reading.days.retain(|(day, _)| *day > today - DAYS);
        });
    }

    fn open_database(&mut self) -> Result<(), Fault> {
        let mut database = Database::open(&self.settings.file)?;
        let lost = database.close_lost()?;
        if lost > 0 {
            tracing::info!(
                allocations = lost,
                "allocations that were open when the relay ended last are closed as lost in the usage ledger"
            );
            self.published.wrote(self.at, [0, 0, lost]);
        }
        // What was counted while there was no database comes on top of what it knows.
        let today = day_of(self.at);
        let (period, days) = (
            database.period(period_start(today, self.settings.reset_day))?,
            database.days_from(today - DAYS + 1)?,
        );
        let began = database.began(self.at)?;
        self.published.change(|reading| {
            reading.began = began;
            reading.period.add(&period);
            for (day, traffic) in days {
                match reading.days.iter_mut().find(|(known, _)| *known == day) {
                    Some((_, sum)) => sum.add(&traffic),
                    None => reading.days.push((day, traffic)),
                }
            }
            reading.days.sort_by_key(|(day, _)| *day);
        });
        self.database = Some(database);
        Ok(())
    }

    fn step_written(&self) -> Result<Step, Fault> {
        self.database.as_ref().map_or(Ok(Step::Ok), Database::step)
    }

    /// Writes what has changed. What cannot be written now is written the next time, with what has come on top.
    fn write(&mut self) {
        self.write_at = self.clock.uptime() + self.settings.interim;
        match self.try_write() {
            Ok(records) => {
                self.published.wrote(self.at, records);
                for entry in self.entries.values_mut() {
                    (entry.is_written, entry.is_dirty) = (true, false);
                }
                for id in self.ended.drain(..) {
                    self.entries.remove(&id);
                }
                if std::mem::take(&mut self.is_failing) {
                    tracing::info!(file = %self.settings.file.display(), "the usage ledger is written again");
                }
            }
            Err(fault) => {
                let due = self.entries.values().filter(|e| e.is_dirty && e.record.ended.is_none());
                self.published.dropped(Status::Interim, due.count() as u64);
                self.tell_failure(&fault);
            }
        }
    }

    fn try_write(&mut self) -> Result<[u64; 3], Fault> {
        if self.database.is_none() {
            self.open_database()?;
        }
        let database = self.database.as_mut().expect("it was just opened");
        let today = day_of(self.at);
        let writing = database.begin()?;
        let mut records = [0; 3];
        let mut growth: HashMap<&str, Growth> = HashMap::new();
        for entry in self.entries.values_mut().filter(|entry| entry.is_dirty) {
            entry.record.sequence += 1;
            let status = match (&entry.record.ended, entry.is_written) {
                (Some(_), _) => Status::Stop,
                (None, false) => Status::Start,
                (None, true) => Status::Interim,
            };
            records[status as usize] += 1;
            growth.entry(&entry.record.tenant).or_default().add(&writing.put(&entry.record)?);
        }
        let mut all = Traffic::default();
        for (tenant, growth) in &growth {
            writing.grow_day(today, tenant, growth)?;
            all.add(&growth.traffic);
        }
        writing.grow_period(period_start(today, self.settings.reset_day), &all)?;
        writing.set("alive", self.at as i64)?;
        writing.set("budget_step", self.told as i64)?;
        writing.commit()?;
        self.sweep()?;
        Ok(records)
    }

    fn sweep(&mut self) -> Result<(), Fault> {
        if self.clock.uptime() < self.sweep_at {
            return Ok(());
        }
        let oldest = self.at.saturating_sub(u64::from(self.settings.retention_days) * DAY);
        let database = self.database.as_mut().expect("it was just written");
        if !database.forget_before(oldest)? {
            self.sweep_at = self.clock.uptime() + SWEEP_EVERY;
        }
        Ok(())
    }

    /// Once, until it is written again.
    fn tell_failure(&mut self, fault: &Fault) {
        if !std::mem::replace(&mut self.is_failing, true) {
            tracing::warn!(
                code = "ledger_not_written",
                file = %self.settings.file.display(),
                error = %fault,
                "the usage ledger cannot be written: the relay goes on, and writes what it has counted as soon as it can; \
                 make room on the disk of node.state_dir, give this user the right to write there, and close other \
                 programs that hold the file"
            );
        }
    }
}

#[cfg(test)]
mod tests;
