//! The SQLite database of reports, blocks and bans.

use std::{fs::OpenOptions, net::IpAddr, os::unix::fs::OpenOptionsExt as _, path::Path, time::Duration};

use rusqlite::{Connection, Result, Row, params};
use turnpike_matching::Id;

use super::{
    Person,
    bans::{Ban, Cause},
};
use crate::contract::Category;

const SCHEMA: &str = "
    CREATE TABLE IF NOT EXISTS reports (
        id INTEGER PRIMARY KEY,
        at INTEGER NOT NULL,
        pair TEXT NOT NULL,
        category TEXT NOT NULL,
        note TEXT NOT NULL,
        reporter TEXT NOT NULL,
        reporter_network TEXT NOT NULL,
        device TEXT,
        network TEXT NOT NULL,
        -- It has led to a ban.
        settled INTEGER NOT NULL DEFAULT 0
    );
    CREATE INDEX IF NOT EXISTS reports_of_device ON reports (device, at);
    CREATE INDEX IF NOT EXISTS reports_of_network ON reports (network, at);
    CREATE TABLE IF NOT EXISTS blocks (
        blocker TEXT NOT NULL,
        blocked TEXT NOT NULL,
        at INTEGER NOT NULL,
        PRIMARY KEY (blocker, blocked)
    ) WITHOUT ROWID;
    CREATE TABLE IF NOT EXISTS bans (
        id TEXT PRIMARY KEY,
        device TEXT,
        network TEXT,
        cause TEXT NOT NULL,
        note TEXT NOT NULL,
        created INTEGER NOT NULL,
        until INTEGER NOT NULL
    ) WITHOUT ROWID;";

/// How long the lock of another program is waited for.
const BUSY: Duration = Duration::from_secs(1);
/// Reports are kept so long, in seconds.
const REPORTS_FOR: u64 = 90 * 86_400;
/// Blocks are kept so long, in seconds.
const BLOCKS_FOR: u64 = 365 * 86_400;

/// A report as it is made.
#[derive(Debug, Clone)]
pub(crate) struct Filed {
    /// Unix seconds.
    pub(crate) at: u64,
    pub(crate) pair: Id,
    pub(crate) category: Category,
    pub(crate) note: String,
    /// The device of the reporter, or the session where there is none.
    pub(crate) reporter: Id,
    pub(crate) reporter_network: IpAddr,
    pub(crate) about: Person,
}

/// A report as it is kept.
#[derive(Debug, Clone)]
pub(crate) struct Known {
    pub(crate) id: i64,
    pub(crate) at: u64,
    pub(crate) pair: String,
    pub(crate) category: String,
    pub(crate) note: String,
    pub(crate) reporter: String,
    pub(crate) reporter_network: String,
    pub(crate) device: Option<String>,
    pub(crate) network: String,
    /// It has led to a ban.
    pub(crate) settled: bool,
}

pub(super) struct Database(Connection);

impl Database {
    pub(super) fn open(file: &Path) -> std::result::Result<Self, Box<dyn std::error::Error>> {
        // SQLite gives its other files the mode of this one.
        OpenOptions::new().append(true).create(true).mode(0o640).open(file)?;
        let connection = Connection::open(file)?;
        connection.busy_timeout(BUSY)?;
        connection.pragma_update(None, "journal_mode", "WAL")?;
        connection.execute_batch(SCHEMA)?;
        Ok(Self(connection))
    }

    pub(super) fn in_memory() -> Result<Self> {
        let connection = Connection::open_in_memory()?;
        connection.execute_batch(SCHEMA)?;
        Ok(Self(connection))
    }

    /// Keeps a report; how many people have reported the same one since then, none of them counted twice, whether by
    /// another browser, from the same address or in the same pair.
    pub(super) fn file(&self, report: &Filed, since: u64) -> Result<u32> {
        let Filed { at, pair, category, note, reporter, reporter_network, about } = report;
        self.0.execute(
            "INSERT INTO reports (at, pair, category, note, reporter, reporter_network, device, network)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
            params![
                at,
                pair.to_string(),
                category.name(),
                note,
                reporter.to_string(),
                reporter_network.to_string(),
                about.device.map(|device| device.to_string()),
                about.network.to_string(),
            ],
        )?;
        let (column, value) = key(about);
        let count = format!(
            "SELECT min(count(DISTINCT reporter), count(DISTINCT reporter_network), count(DISTINCT pair))
             FROM reports WHERE {column} = ?1 AND at >= ?2 AND settled = 0"
        );
        self.0.query_row(&count, params![value, since], |row| row.get(0))
    }

    /// What was reported of somebody has led to a ban, and does not lead to another.
    pub(super) fn settle(&self, about: &Person) -> Result<()> {
        let (column, value) = key(about);
        self.0.execute(&format!("UPDATE reports SET settled = 1 WHERE {column} = ?1"), [value]).map(drop)
    }

    /// The newest first.
    pub(super) fn reports(&self, before: Option<i64>, limit: u32) -> Result<Vec<Known>> {
        let mut statement = self.0.prepare(
            "SELECT id, at, pair, category, note, reporter, reporter_network, device, network, settled
             FROM reports WHERE id < ?1 ORDER BY id DESC LIMIT ?2",
        )?;
        statement.query_map(params![before.unwrap_or(i64::MAX), limit], known)?.collect()
    }

    pub(super) fn block(&self, blocker: Id, blocked: Id, at: u64) -> Result<()> {
        let insert = "INSERT OR REPLACE INTO blocks (blocker, blocked, at) VALUES (?1, ?2, ?3)";
        self.0.execute(insert, params![blocker.to_string(), blocked.to_string(), at]).map(drop)
    }

    /// The oldest first.
    pub(super) fn blocks(&self) -> Result<Vec<(Id, Id)>> {
        let mut statement = self.0.prepare("SELECT blocker, blocked FROM blocks ORDER BY at")?;
        let both = |row: &Row<'_>| Ok((id(row, 0)?, id(row, 1)?));
        let blocks: Result<Vec<_>> = statement.query_map([], both)?.collect();
        Ok(blocks?.into_iter().filter_map(|(blocker, blocked)| Some((blocker?, blocked?))).collect())
    }

    pub(super) fn ban(&self, ban: &Ban) -> Result<()> {
        self.0
            .execute(
                "INSERT OR REPLACE INTO bans (id, device, network, cause, note, created, until)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
                params![
                    ban.id.to_string(),
                    ban.device.map(|device| device.to_string()),
                    ban.network.map(|network| network.to_string()),
                    ban.cause.name(),
                    ban.note,
                    ban.created,
                    ban.until,
                ],
            )
            .map(drop)
    }

    pub(super) fn unban(&self, id: Id) -> Result<()> {
        self.0.execute("DELETE FROM bans WHERE id = ?1", [id.to_string()]).map(drop)
    }

    /// Those in force.
    pub(super) fn bans(&self, now: u64) -> Result<Vec<Ban>> {
        let mut statement = self
            .0
            .prepare("SELECT id, device, network, cause, note, created, until FROM bans WHERE until > ?1")?;
        let ban = |row: &Row<'_>| {
            let network: Option<String> = row.get(2)?;
            Ok(id(row, 0)?.map(|this| Ban {
                id: this,
                device: id(row, 1).ok().flatten(),
                network: network.and_then(|network| network.parse().ok()),
                cause: Cause::parse(&row.get::<_, String>(3).unwrap_or_default()),
                note: row.get(4).unwrap_or_default(),
                created: row.get(5).unwrap_or_default(),
                until: row.get(6).unwrap_or_default(),
            }))
        };
        let bans: Result<Vec<Option<Ban>>> = statement.query_map([now], ban)?.collect();
        Ok(bans?.into_iter().flatten().collect())
    }

    /// Removes what is too old.
    pub(super) fn sweep(&self, now: u64) -> Result<()> {
        self.0.execute("DELETE FROM reports WHERE at < ?1", [now.saturating_sub(REPORTS_FOR)])?;
        self.0.execute("DELETE FROM blocks WHERE at < ?1", [now.saturating_sub(BLOCKS_FOR)])?;
        self.0.execute("DELETE FROM bans WHERE until <= ?1", [now]).map(drop)
    }
}

/// What reports of the same person have in common: the browser, else the address.
fn key(about: &Person) -> (&'static str, String) {
    match about.device {
        Some(device) => ("device", device.to_string()),
        None => ("device IS NULL AND network", about.network.to_string()),
    }
}

fn id(row: &Row<'_>, column: usize) -> Result<Option<Id>> {
    Ok(row.get::<_, Option<String>>(column)?.and_then(|text| Id::parse(&text)))
}

fn known(row: &Row<'_>) -> Result<Known> {
    Ok(Known {
        id: row.get(0)?,
        at: row.get(1)?,
        pair: row.get(2)?,
        category: row.get(3)?,
        note: row.get(4)?,
        reporter: row.get(5)?,
        reporter_network: row.get(6)?,
        device: row.get(7)?,
        network: row.get(8)?,
        settled: row.get(9)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(n: u8, reporter: u8, address: u8, about: Person) -> Filed {
        Filed {
            at: 1000 + u64::from(n),
            pair: Id::new([n; 16]),
            category: Category::Spam,
            note: String::new(),
            reporter: Id::new([reporter; 16]),
            reporter_network: [192, 0, 2, address].into(),
            about,
        }
    }

    #[test]
    fn one_person_counts_once_whatever_browsers_addresses_and_pairs_there_were() {
        let database = Database::in_memory().unwrap();
        let about = Person { device: Some(Id::new([9; 16])), network: [198, 18, 0, 1].into() };
        let file = |n, reporter, address| database.file(&report(n, reporter, address, about), 0).unwrap();
        assert_eq!(file(1, 1, 1), 1);
        assert_eq!(file(2, 2, 1), 1, "many browsers behind one address");
        assert_eq!(file(3, 2, 2), 2);
        assert_eq!(file(3, 3, 3), 3);
        assert_eq!(file(3, 4, 4), 3, "twice the same pair");
        let other = Person { device: Some(Id::new([8; 16])), ..about };
        assert_eq!(database.file(&report(5, 1, 1, other), 0).unwrap(), 1, "another browser of that address");
        let unknown = Person { device: None, ..about };
        assert_eq!(database.file(&report(6, 1, 1, unknown), 0).unwrap(), 1);
        database.settle(&about).unwrap();
        assert_eq!(file(7, 5, 5), 1, "what has led to a ban does not lead to another");
        assert_eq!(database.file(&report(8, 6, 6, about), 1008).unwrap(), 1, "what is old does not count");
        let newest = database.reports(None, 2).unwrap();
        assert_eq!(newest.iter().map(|report| report.settled).collect::<Vec<_>>(), [false, false]);
        assert!(database.reports(Some(newest[1].id - 2), 1).unwrap()[0].settled);
    }
}
