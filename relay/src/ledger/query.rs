//! Answers to questions about usage.

use rusqlite::{Row, params_from_iter, types::Value};
use turnpike_relay_api::usage::{Billing, By, Record, Sum, Usage, UsageQuery};

use super::{
    database::{COUNTERS, Database, Fault, signed, traffic, unsigned},
    label::Labels,
    period::{DAY, day_name},
};

const DEFAULT_LIMIT: u32 = 1_000;
const MOST: u32 = 100_000;
/// Sums of the counters, in their order.
const SUMS: &str = "sum(client_in_bytes), sum(client_in_packets), sum(client_out_bytes), sum(client_out_packets), \
     sum(peer_in_bytes), sum(peer_in_packets), sum(peer_out_bytes), sum(peer_out_packets), sum(hairpin_bytes), \
     sum(hairpin_packets)";
/// An open allocation lived when the ledger was last written.
const SECONDS: &str =
    "coalesce(ended, max(updated, (SELECT value FROM facts WHERE name = 'alive'))) - started";

/// Why a question has no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unreadable {
    /// The database says no.
    #[error("{0}")]
    Fault(#[from] Fault),
    /// Whoever read it has panicked, as logged.
    #[error("reading it has failed, as logged")]
    Failed,
}

impl From<rusqlite::Error> for Unreadable {
    fn from(error: rusqlite::Error) -> Self {
        Self::Fault(error.into())
    }
}

/// A condition and what stands in it.
#[derive(Default)]
struct Filter {
    conditions: Vec<&'static str>,
    values: Vec<Value>,
}

impl Filter {
    fn add(&mut self, condition: &'static str, values: impl IntoIterator<Item = Value>) {
        self.conditions.push(condition);
        self.values.extend(values);
    }

    fn sql(&self) -> String {
        match self.conditions.is_empty() {
            true => String::new(),
            false => format!("WHERE {}", self.conditions.join(" AND ")),
        }
    }
}

pub(super) fn read(
    database: &Database,
    query: &UsageQuery,
    labels: &Labels,
    billing: Billing,
) -> Result<Usage, Unreadable> {
    let limit = query.limit.unwrap_or(DEFAULT_LIMIT).min(MOST) as usize;
    let of_somebody = query.allocation.is_some() || query.subject.is_some() || query.pair.is_some();
    let by_day = query.by == By::Day && !of_somebody && query.open.is_none();
    let (table, filter) = match by_day {
        true => ("days", days(query)),
        false => ("records", records(query, labels)),
    };
    let mut usage = Usage { total: total(database, table, &filter, billing)?, ..Usage::default() };
    let name = match query.by {
        By::Allocation => {
            usage.records = list(database, &filter, limit, billing)?;
            usage.truncated = usage.records.len() > limit;
            usage.records.truncate(limit);
            return Ok(usage);
        }
        By::Subject => "subject",
        By::Pair => "coalesce(pair, '')",
        By::Tenant => "tenant",
        By::Day if by_day => "day",
        By::Day => "started / 86400",
    };
    let order = match query.by {
        By::Day => "1 DESC",
        _ => "sum(client_out_bytes) + sum(peer_out_bytes) - sum(hairpin_bytes) DESC, 1",
    };
    let (allocations, seconds) = sums_of(table);
    let sql = format!(
        "SELECT {name}, {allocations}, {seconds}, {SUMS} FROM {table} {} GROUP BY 1 ORDER BY {order} LIMIT {}",
        filter.sql(),
        limit + 1
    );
    let mut select = database.connection().prepare(&sql)?;
    let by = query.by;
    let sums = select.query_map(params_from_iter(filter.values), |row| {
        let name = match by {
            By::Day => day_name(row.get(0)?),
            _ => row.get(0)?,
        };
        sum(row, name, billing)
    })?;
    usage.sums = sums.collect::<Result<_, _>>()?;
    usage.truncated = usage.sums.len() > limit;
    usage.sums.truncate(limit);
    Ok(usage)
}

fn sums_of(table: &str) -> (&'static str, String) {
    match table {
        "days" => ("sum(allocations)", "sum(seconds)".to_owned()),
        _ => ("count(*)", format!("sum({SECONDS})")),
    }
}

fn days(query: &UsageQuery) -> Filter {
    let mut filter = Filter::default();
    if let Some(from) = query.from {
        filter.add("day >= ?", [number(from / DAY)]);
    }
    if let Some(to) = query.to {
        filter.add("day < ?", [number(to.div_ceil(DAY))]);
    }
    if let Some(tenant) = &query.tenant {
        filter.add("tenant = ?", [tenant.clone().into()]);
    }
    filter
}

fn records(query: &UsageQuery, labels: &Labels) -> Filter {
    let mut filter = Filter::default();
    if let Some(from) = query.from {
        filter.add("(ended IS NULL OR ended >= ?)", [number(from)]);
    }
    if let Some(to) = query.to {
        filter.add("started < ?", [number(to)]);
    }
    if let Some(id) = &query.allocation {
        filter.add("id = ?", [id.clone().into()]);
    }
    if let Some(subject) = &query.subject {
        filter.add("subject IN (?, ?)", [subject.clone().into(), labels.subject(subject).into()]);
    }
    if let Some(pair) = &query.pair {
        filter.add("pair = ?", [pair.clone().into()]);
    }
    if let Some(tenant) = &query.tenant {
        filter.add("tenant = ?", [tenant.clone().into()]);
    }
    match query.open {
        Some(true) => filter.add("ended IS NULL", []),
        Some(false) => filter.add("ended IS NOT NULL", []),
        None => {}
    }
    filter
}

fn number(number: u64) -> Value {
    signed(number).into()
}

fn list(
    database: &Database,
    filter: &Filter,
    limit: usize,
    billing: Billing,
) -> Result<Vec<Record>, Unreadable> {
    let sql = format!(
        "SELECT id, sequence, subject, pair, tenant, transport, family, client, started, updated, ended, cause, {SECONDS}, \
         {COUNTERS} FROM records {} ORDER BY started DESC, id LIMIT {}",
        filter.sql(),
        limit + 1
    );
    let mut select = database.connection().prepare(&sql)?;
    let records = select.query_map(params_from_iter(filter.values.clone()), |row| {
        let traffic = traffic(row, 13)?;
        Ok(Record {
            id: row.get(0)?,
            sequence: unsigned(row, 1)?,
            subject: row.get(2)?,
            pair: row.get(3)?,
            tenant: row.get(4)?,
            transport: row.get(5)?,
            family: row.get(6)?,
            client: row.get(7)?,
            started: unsigned(row, 8)?,
            updated: unsigned(row, 9)?,
            ended: row.get::<_, Option<i64>>(10)?.map(|ended| ended.max(0) as u64),
            cause: row.get(11)?,
            seconds: unsigned(row, 12)?,
            traffic,
            billed_bytes: billing.bytes(&traffic),
        })
    })?;
    Ok(records.collect::<Result<_, _>>()?)
}

fn total(database: &Database, table: &str, filter: &Filter, billing: Billing) -> Result<Sum, Unreadable> {
    let (allocations, seconds) = sums_of(table);
    let sql = format!("SELECT '', {allocations}, {seconds}, {SUMS} FROM {table} {}", filter.sql());
    let values = params_from_iter(filter.values.clone());
    Ok(database.connection().query_row(&sql, values, |row| sum(row, String::new(), billing))?)
}

fn sum(row: &Row<'_>, name: String, billing: Billing) -> rusqlite::Result<Sum> {
    let traffic = traffic(row, 3)?;
    Ok(Sum {
        name,
        allocations: unsigned(row, 1)?,
        seconds: unsigned(row, 2)?,
        traffic,
        billed_bytes: billing.bytes(&traffic),
    })
}
