use std::time::SystemTime;

use clap::{Args, ValueEnum};
use time::{Date, macros::format_description};
use turnpike_config::parse_duration;
use turnpike_relay_api::{
    admin::Traffic,
    usage::{By, BytePrice, Format, Record, Sum, USAGE, Usage, UsageQuery},
};

use super::ConfigFile;
use crate::{
    quantity,
    relay_admin::RelayAdmin,
    screen::Screen,
    table::{Side, Table},
};

/// Show who used how much, from the ledger.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    config: ConfigFile,
    /// What a row is
    #[arg(long, value_enum, default_value_t = Row::Day)]
    by: Row,
    /// Not before this day in UTC, such as 2026-11-01, or this long ago, such as 7d
    #[arg(long, value_name = "WHEN", value_parser = moment)]
    from: Option<u64>,
    /// Before this day, or this long ago
    #[arg(long, value_name = "WHEN", value_parser = moment)]
    to: Option<u64>,
    /// Of this allocation
    #[arg(long, value_name = "ID", allow_hyphen_values = true)]
    allocation: Option<String>,
    /// Of this subject: as in a username, or as shown here
    #[arg(long, allow_hyphen_values = true)]
    subject: Option<String>,
    /// Of this pair of signaling
    #[arg(long, value_name = "ID", allow_hyphen_values = true)]
    pair: Option<String>,
    /// Of this tenant
    #[arg(long)]
    tenant: Option<String>,
    /// What is live
    #[arg(long)]
    open: bool,
    /// Most rows [default: 1000]
    #[arg(long, value_name = "ROWS")]
    limit: Option<u32>,
    /// As one JSON object
    #[arg(long, group = "format")]
    json: bool,
    /// As comma-separated values
    #[arg(long, group = "format")]
    csv: bool,
    /// As CloudEvents 1.0, one object a line for each allocation
    #[arg(long, group = "format")]
    cloudevents: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Row {
    /// A day in UTC
    Day,
    /// One allocation
    Allocation,
    /// All of a subject
    Subject,
    /// All of a pair
    Pair,
    /// All of a tenant
    Tenant,
}

/// # Errors
/// When the relay does not answer, or its ledger cannot be read.
pub(crate) fn execute(arguments: &Arguments) -> anyhow::Result<()> {
    let query = arguments.query();
    let path = format!("{USAGE}?{}", serde_urlencoded::to_string(&query)?);
    let text = RelayAdmin::of(&arguments.config)?.text(&path)?;
    let mut screen = Screen::stdout();
    match (arguments.json, query.format) {
        (true, _) => screen.line(&text)?,
        (false, Format::Json) => print(&mut screen, &serde_json::from_str(&text)?, arguments.by)?,
        (false, Format::Csv | Format::CloudEvents) => screen.text(&text)?,
    }
    Ok(())
}

impl Arguments {
    fn query(&self) -> UsageQuery {
        UsageQuery {
            from: self.from,
            to: self.to,
            allocation: self.allocation.clone(),
            subject: self.subject.clone(),
            pair: self.pair.clone(),
            tenant: self.tenant.clone(),
            open: self.open.then_some(true),
            by: match self.by {
                _ if self.cloudevents => By::Allocation,
                Row::Day => By::Day,
                Row::Allocation => By::Allocation,
                Row::Subject => By::Subject,
                Row::Pair => By::Pair,
                Row::Tenant => By::Tenant,
            },
            limit: self.limit,
            format: match (self.csv, self.cloudevents) {
                (true, _) => Format::Csv,
                (_, true) => Format::CloudEvents,
                _ => Format::Json,
            },
        }
    }
}

/// The columns after those of a row's own.
fn columns<'a>(own: &[(&'a str, Side)], price: Option<&BytePrice>) -> Table {
    let flows =
        ["From clients", "To clients", "To peers", "From peers", "Billed"].map(|name| (name, Side::Right));
    let cost = price.map(|_| ("Cost", Side::Right));
    Table::new(&own.iter().copied().chain(flows).chain(cost).collect::<Vec<(&'a str, Side)>>())
}

fn print(screen: &mut Screen, usage: &Usage, by: Row) -> anyhow::Result<()> {
    if usage.total.allocations == 0 && usage.records.is_empty() && usage.sums.is_empty() {
        return Ok(screen.line("nothing was relayed in that time")?);
    }
    let table = match by {
        Row::Allocation => records(&usage.records, &usage.total, usage.price.as_ref()),
        _ => sums(&usage.sums, &usage.total, by, usage.price.as_ref()),
    };
    screen.table(&table)?;
    if usage.truncated {
        screen.line("")?;
        screen.line("there is more: --limit shows more rows; the total is over all of them")?;
    }
    Ok(())
}

fn records(records: &[Record], total: &Sum, price: Option<&BytePrice>) -> Table {
    let own = [
        ("Began (UTC)", Side::Left),
        ("Life", Side::Right),
        ("Allocation", Side::Left),
        ("Subject", Side::Left),
        ("Via", Side::Left),
        ("Ended by", Side::Left),
    ];
    let mut table = columns(&own, price);
    for record in records {
        let cells = [
            quantity::moment(record.started),
            quantity::span(record.seconds),
            record.id.clone(),
            or_dash(&record.subject),
            format!("{} {}", record.transport, record.family),
            record.cause.clone().unwrap_or_else(|| "live".to_owned()),
        ];
        table.row(cells.into_iter().chain(flows(&record.traffic, record.billed_bytes, price)).collect());
    }
    let cells = ["total", &quantity::span(total.seconds), &total.allocations.to_string(), "", "", ""];
    let cells = cells.map(str::to_owned);
    table.row(cells.into_iter().chain(flows(&total.traffic, total.billed_bytes, price)).collect());
    table
}

fn sums(sums: &[Sum], total: &Sum, by: Row, price: Option<&BytePrice>) -> Table {
    let name = match by {
        Row::Day => "Day (UTC)",
        Row::Subject => "Subject",
        Row::Pair => "Pair",
        Row::Tenant | Row::Allocation => "Tenant",
    };
    let own = [(name, Side::Left), ("Allocations", Side::Right), ("Time", Side::Right)];
    let mut table = columns(&own, price);
    let mut add = |name: String, sum: &Sum| {
        let cells = [name, sum.allocations.to_string(), quantity::span(sum.seconds)];
        table.row(cells.into_iter().chain(flows(&sum.traffic, sum.billed_bytes, price)).collect());
    };
    sums.iter().for_each(|sum| add(or_dash(&sum.name), sum));
    add("total".to_owned(), total);
    table
}

fn flows(traffic: &Traffic, billed: u64, price: Option<&BytePrice>) -> Vec<String> {
    let Traffic { client_in, client_out, peer_out, peer_in, .. } = traffic;
    let bytes =
        [client_in.bytes, client_out.bytes, peer_out.bytes, peer_in.bytes, billed].map(quantity::bytes);
    let cost = price.map(|price| quantity::money(billed as f64 * price.blended, &price.currency));
    bytes.into_iter().chain(cost).collect()
}

fn or_dash(name: &str) -> String {
    if name.is_empty() { "-".to_owned() } else { name.to_owned() }
}

/// The beginning of a day, or so long ago, in Unix seconds.
fn moment(text: &str) -> Result<u64, String> {
    let day = Date::parse(text, format_description!("[year]-[month]-[day]")).ok();
    if let Some(day) = day {
        return u64::try_from(day.midnight().assume_utc().unix_timestamp())
            .map_err(|error| error.to_string());
    }
    let ago = parse_duration(text)
        .map_err(|_| "write a day such as 2026-11-01, or how long ago such as 7d or 12h".to_owned())?;
    let now = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default();
    Ok(now.saturating_sub(ago).as_secs())
}
