//! The SQLite database of the ledger.

use std::{
    fs::{self, OpenOptions},
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
    sync::LazyLock,
    time::Duration,
};

use rusqlite::{Connection, ErrorCode, OpenFlags, OptionalExtension as _, Row, Transaction, params};
use turnpike_relay_api::{
    admin::{Flow, Traffic},
    cost::Step,
    usage::Record,
};

use super::period::day_of;

const SCHEMA_VERSION: i64 = 1;
/// How long the lock of another program is waited for.
const BUSY: Duration = Duration::from_secs(1);
/// Records that retention takes at a time.
const SWEEP_AT_ONCE: u64 = 5_000;

/// The counters as columns, in the order of [`counters`].
pub(super) const COUNTERS: &str = "client_in_bytes, client_in_packets, client_out_bytes, client_out_packets, \
     peer_in_bytes, peer_in_packets, peer_out_bytes, peer_out_packets, hairpin_bytes, hairpin_packets";
const NAMES: [&str; 10] = [
    "client_in_bytes",
    "client_in_packets",
    "client_out_bytes",
    "client_out_packets",
    "peer_in_bytes",
    "peer_in_packets",
    "peer_out_bytes",
    "peer_out_packets",
    "hairpin_bytes",
    "hairpin_packets",
];

static SELECT_WRITTEN: LazyLock<String> =
    LazyLock::new(|| format!("SELECT sequence, ended, {COUNTERS} FROM records WHERE id = ?1"));
static PUT_RECORD: LazyLock<String> = LazyLock::new(|| {
    format!(
        "INSERT INTO records (id, sequence, started, updated, ended, cause, pair, subject, tenant, transport, family, \
         client, {COUNTERS}) VALUES ({}) ON CONFLICT (id) DO UPDATE SET sequence = excluded.sequence, \
         updated = excluded.updated, ended = excluded.ended, cause = excluded.cause, {}",
        marks(22),
        NAMES.map(|name| format!("{name} = excluded.{name}")).join(", ")
    )
});
static GROW_DAY: LazyLock<String> = LazyLock::new(|| {
    format!(
        "INSERT INTO days (day, tenant, allocations, seconds, {COUNTERS}) VALUES ({}) ON CONFLICT (day, tenant) DO \
         UPDATE SET allocations = allocations + excluded.allocations, seconds = seconds + excluded.seconds, {}",
        marks(14),
        growing()
    )
});
static GROW_PERIOD: LazyLock<String> = LazyLock::new(|| {
    format!(
        "INSERT INTO periods (start, {COUNTERS}) VALUES ({}) ON CONFLICT (start) DO UPDATE SET {}",
        marks(11),
        growing()
    )
});

fn marks(count: usize) -> String {
    vec!["?"; count].join(", ")
}

fn growing() -> String {
    NAMES.map(|name| format!("{name} = {name} + excluded.{name}")).join(", ")
}

/// Why the ledger cannot be written or read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Fault {
    /// What SQLite says.
    #[error(transparent)]
    Sqlite(#[from] rusqlite::Error),
    /// What the system says.
    #[error(transparent)]
    File(#[from] std::io::Error),
    /// A later version has written it.
    #[error("it was written by a later version (schema {0}, this one knows {SCHEMA_VERSION})")]
    Later(i64),
}

impl Fault {
    fn is_no_database(&self) -> bool {
        matches!(self, Self::Sqlite(error) if matches!(
            error.sqlite_error_code(),
            Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt)
        ))
    }
}

/// An open ledger.
pub(super) struct Database {
    connection: Connection,
}

/// What one transaction adds to the sums.
#[derive(Debug, Default, Clone)]
pub(super) struct Growth {
    pub(super) began: u64,
    pub(super) seconds: u64,
    pub(super) traffic: Traffic,
}

impl Growth {
    pub(super) fn add(&mut self, other: &Self) {
        self.began += other.began;
        self.seconds += other.seconds;
        self.traffic.add(&other.traffic);
    }
}

impl Database {
    /// Opens the ledger to write, and makes it when missing. One that is none, or is broken, is put aside.
    pub(super) fn open(file: &Path) -> Result<Self, Fault> {
        match Self::open_as_it_is(file) {
            Err(fault) if fault.is_no_database() => {
                let mut aside = file.as_os_str().to_owned();
                aside.push(".unreadable");
                fs::rename(file, &aside)?;
                for rest in ["-wal", "-shm"] {
                    let mut beside = file.as_os_str().to_owned();
                    beside.push(rest);
                    // It may not be there.
                    let _ = fs::remove_file(beside);
                }
                tracing::warn!(
                    code = "ledger_unreadable",
                    error = %fault,
                    kept_as = %Path::new(&aside).display(),
                    "the usage ledger is no database that can be read: a new one is begun, and sums start at 0; \
                     `sqlite3 FILE .recover` may save what is in the old one"
                );
                Self::open_as_it_is(file)
            }
            opened => opened,
        }
    }

    fn open_as_it_is(file: &Path) -> Result<Self, Fault> {
        // SQLite gives its other files the mode of this one.
        OpenOptions::new().append(true).create(true).mode(0o640).open(file)?;
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(file, flags)?;
        connection.busy_timeout(BUSY)?;
        connection.pragma_update(None, "journal_mode", "WAL")?;
        connection.pragma_update(None, "synchronous", "NORMAL")?;
        let mut database = Self { connection };
        database.migrate()?;
        Ok(database)
    }

    /// Opens the ledger to read what the other end writes.
    pub(super) fn open_to_read(file: &Path) -> Result<Self, Fault> {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(file, flags)?;
        connection.busy_timeout(BUSY)?;
        Ok(Self { connection })
    }

    pub(super) fn connection(&self) -> &Connection {
        &self.connection
    }

    fn migrate(&mut self) -> Result<(), Fault> {
        let version: i64 = self.connection.query_row("PRAGMA user_version", [], |row| row.get(0))?;
        match version {
            SCHEMA_VERSION => Ok(()),
            0 => {
                let columns = NAMES.map(|name| format!("{name} INTEGER NOT NULL DEFAULT 0")).join(", ");
                let transaction = self.connection.transaction()?;
                transaction.execute_batch(&format!(
                    "CREATE TABLE records (
                       id TEXT PRIMARY KEY, sequence INTEGER NOT NULL, subject TEXT NOT NULL, pair TEXT,
                       tenant TEXT NOT NULL, transport TEXT NOT NULL, family TEXT NOT NULL, client TEXT NOT NULL,
                       started INTEGER NOT NULL, updated INTEGER NOT NULL, ended INTEGER, cause TEXT, {columns}
                     ) STRICT, WITHOUT ROWID;
                     CREATE INDEX records_by_start ON records (started);
                     CREATE INDEX records_by_end ON records (ended);
                     CREATE TABLE days (
                       day INTEGER NOT NULL, tenant TEXT NOT NULL, allocations INTEGER NOT NULL,
                       seconds INTEGER NOT NULL, {columns}, PRIMARY KEY (day, tenant)
                     ) STRICT, WITHOUT ROWID;
                     CREATE TABLE periods (start INTEGER PRIMARY KEY, {columns}) STRICT;
                     CREATE TABLE facts (name TEXT PRIMARY KEY, value INTEGER NOT NULL) STRICT, WITHOUT ROWID;
                     PRAGMA user_version = {SCHEMA_VERSION};"
                ))?;
                Ok(transaction.commit()?)
            }
            later => Err(Fault::Later(later)),
        }
    }

    /// Ends what the last process left open, at the last moment that it is known to have lived. Tells how many.
    pub(super) fn close_lost(&mut self) -> Result<u64, Fault> {
        let transaction =
            self.connection.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
        let alive = fact(&transaction, "alive")?;
        let end = "max(started, updated, ?1)";
        let mut lived = transaction.prepare(&format!(
            "SELECT tenant, sum({end} - started) FROM records WHERE ended IS NULL GROUP BY tenant"
        ))?;
        let tenants: Vec<(String, u64)> = lived
            .query_map([alive], |row| Ok((row.get(0)?, unsigned(row, 1)?)))?
            .collect::<Result<_, _>>()?;
        drop(lived);
        for (tenant, seconds) in tenants {
            grow_day(&transaction, day_of(alive as u64), &tenant, &Growth { seconds, ..Growth::default() })?;
        }
        let lost = transaction.execute(
            &format!(
                "UPDATE records SET ended = {end}, cause = 'lost', sequence = sequence + 1 WHERE ended IS NULL"
            ),
            [alive],
        )?;
        transaction.commit()?;
        Ok(lost as u64)
    }

    /// When the ledger began: now, if it begins now.
    pub(super) fn began(&mut self, now: u64) -> Result<u64, Fault> {
        let writing = self.begin()?;
        let began = match fact(&writing.transaction, "began")? {
            0 => {
                writing.set("began", signed(now))?;
                now
            }
            began => began.max(0) as u64,
        };
        writing.commit()?;
        Ok(began)
    }

    /// The step of the budget that was written last.
    pub(super) fn step(&self) -> Result<Step, Fault> {
        let step = fact(&self.connection, "budget_step")?;
        Ok(usize::try_from(step).ok().and_then(|step| Step::ALL.get(step).copied()).unwrap_or_default())
    }

    /// What a billing period has seen.
    pub(super) fn period(&self, start: i64) -> Result<Traffic, Fault> {
        let sql = format!("SELECT {COUNTERS} FROM periods WHERE start = ?1");
        let found = self.connection.query_row(&sql, [start], |row| traffic(row, 0)).optional()?;
        Ok(found.unwrap_or_default())
    }

    /// What each day from one on has seen.
    pub(super) fn days_from(&self, day: i64) -> Result<Vec<(i64, Traffic)>, Fault> {
        let sums = NAMES.map(|name| format!("sum({name})")).join(", ");
        let sql = format!("SELECT day, {sums} FROM days WHERE day >= ?1 GROUP BY day ORDER BY day");
        let mut days = self.connection.prepare(&sql)?;
        let days = days.query_map([day], |row| Ok((row.get(0)?, traffic(row, 1)?)))?;
        Ok(days.collect::<Result<_, _>>()?)
    }

    /// Takes records that ended before a moment, a part at a time. Tells whether there may be more.
    pub(super) fn forget_before(&mut self, unix: u64) -> Result<bool, Fault> {
        let gone = self.connection.execute(
            "DELETE FROM records WHERE id IN (SELECT id FROM records WHERE ended < ?1 LIMIT ?2)",
            params![signed(unix), signed(SWEEP_AT_ONCE)],
        )?;
        Ok(gone as u64 == SWEEP_AT_ONCE)
    }

    /// Begins to write.
    pub(super) fn begin(&mut self) -> Result<Writing<'_>, Fault> {
        let behavior = rusqlite::TransactionBehavior::Immediate;
        Ok(Writing { transaction: self.connection.transaction_with_behavior(behavior)? })
    }
}

/// One transaction.
pub(super) struct Writing<'a> {
    transaction: Transaction<'a>,
}

impl Writing<'_> {
    /// Writes a record unless a later one of its allocation is there, and tells what is new in it.
    pub(super) fn put(&self, record: &Record) -> Result<Growth, Fault> {
        let mut select = self.transaction.prepare_cached(&SELECT_WRITTEN)?;
        let read = |row: &Row<'_>| {
            Ok((unsigned(row, 0)?, row.get::<_, Option<i64>>(1)?.is_some(), traffic(row, 2)?))
        };
        let written = select.query_row([&record.id], read).optional()?;
        if written.as_ref().is_some_and(|(sequence, ended, _)| *sequence >= record.sequence || *ended) {
            return Ok(Growth::default());
        }
        let mut put = self.transaction.prepare_cached(&PUT_RECORD)?;
        let text = [&record.subject, &record.tenant, &record.transport, &record.family, &record.client];
        put.raw_bind_parameter(1, &record.id)?;
        put.raw_bind_parameter(2, signed(record.sequence))?;
        put.raw_bind_parameter(3, signed(record.started))?;
        put.raw_bind_parameter(4, signed(record.updated))?;
        put.raw_bind_parameter(5, record.ended.map(signed))?;
        put.raw_bind_parameter(6, &record.cause)?;
        put.raw_bind_parameter(7, &record.pair)?;
        for (nth, text) in text.into_iter().enumerate() {
            put.raw_bind_parameter(8 + nth, text)?;
        }
        for (nth, value) in counters(&record.traffic).into_iter().enumerate() {
            put.raw_bind_parameter(13 + nth, value)?;
        }
        put.raw_execute()?;
        let before = written.as_ref().map(|(_, _, traffic)| *traffic).unwrap_or_default();
        Ok(Growth {
            began: u64::from(written.is_none()),
            seconds: record.ended.map_or(0, |ended| ended.saturating_sub(record.started)),
            traffic: difference(&record.traffic, &before),
        })
    }

    pub(super) fn grow_day(&self, day: i64, tenant: &str, growth: &Growth) -> Result<(), Fault> {
        grow_day(&self.transaction, day, tenant, growth)
    }

    pub(super) fn grow_period(&self, start: i64, growth: &Traffic) -> Result<(), Fault> {
        let mut grow = self.transaction.prepare_cached(&GROW_PERIOD)?;
        grow.raw_bind_parameter(1, start)?;
        for (nth, value) in counters(growth).into_iter().enumerate() {
            grow.raw_bind_parameter(2 + nth, value)?;
        }
        grow.raw_execute()?;
        Ok(())
    }

    /// Keeps a number under a name.
    pub(super) fn set(&self, name: &str, value: i64) -> Result<(), Fault> {
        let sql = "INSERT INTO facts VALUES (?1, ?2) ON CONFLICT (name) DO UPDATE SET value = excluded.value";
        self.transaction.prepare_cached(sql)?.execute(params![name, value])?;
        Ok(())
    }

    pub(super) fn commit(self) -> Result<(), Fault> {
        Ok(self.transaction.commit()?)
    }
}

fn grow_day(transaction: &Transaction<'_>, day: i64, tenant: &str, growth: &Growth) -> Result<(), Fault> {
    let mut insert = transaction.prepare_cached(&GROW_DAY)?;
    insert.raw_bind_parameter(1, day)?;
    insert.raw_bind_parameter(2, tenant)?;
    insert.raw_bind_parameter(3, signed(growth.began))?;
    insert.raw_bind_parameter(4, signed(growth.seconds))?;
    for (nth, value) in counters(&growth.traffic).into_iter().enumerate() {
        insert.raw_bind_parameter(5 + nth, value)?;
    }
    insert.raw_execute()?;
    Ok(())
}

/// 0 where it was never set.
fn fact(connection: &Connection, name: &str) -> Result<i64, Fault> {
    let found = connection.query_row("SELECT value FROM facts WHERE name = ?1", [name], |row| row.get(0));
    Ok(found.optional()?.unwrap_or(0))
}

pub(super) fn counters(traffic: &Traffic) -> [i64; 10] {
    let Traffic { client_in, client_out, peer_in, peer_out, hairpin } = traffic;
    let [a, b, c, d, e] = [client_in, client_out, peer_in, peer_out, hairpin]
        .map(|flow| [signed(flow.bytes), signed(flow.packets)]);
    [a[0], a[1], b[0], b[1], c[0], c[1], d[0], d[1], e[0], e[1]]
}

/// Ten columns from one on.
pub(super) fn traffic(row: &Row<'_>, first: usize) -> rusqlite::Result<Traffic> {
    let flow = |nth: usize| {
        Ok::<_, rusqlite::Error>(Flow {
            bytes: unsigned(row, first + 2 * nth)?,
            packets: unsigned(row, first + 2 * nth + 1)?,
        })
    };
    Ok(Traffic {
        client_in: flow(0)?,
        client_out: flow(1)?,
        peer_in: flow(2)?,
        peer_out: flow(3)?,
        hairpin: flow(4)?,
    })
}

/// What there is more; counters of one allocation never go down.
pub(super) fn difference(now: &Traffic, before: &Traffic) -> Traffic {
    let flow = |now: Flow, before: Flow| Flow {
        bytes: now.bytes.saturating_sub(before.bytes),
        packets: now.packets.saturating_sub(before.packets),
    };
    Traffic {
        client_in: flow(now.client_in, before.client_in),
        client_out: flow(now.client_out, before.client_out),
        peer_in: flow(now.peer_in, before.peer_in),
        peer_out: flow(now.peer_out, before.peer_out),
        hairpin: flow(now.hairpin, before.hairpin),
    }
}

/// SQLite's numbers end at 2^63.
pub(super) fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

pub(super) fn unsigned(row: &Row<'_>, column: usize) -> rusqlite::Result<u64> {
    let number: Option<i64> = row.get(column)?;
    Ok(number.unwrap_or(0).max(0) as u64)
}
