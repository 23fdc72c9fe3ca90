use clap::Args;
use turnpike_relay_api::cost::{COST, Cost, Priced};

use super::ConfigFile;
use crate::{
    quantity,
    relay_admin::RelayAdmin,
    screen::Screen,
    table::{Side, Table},
};

/// Show what the billing period costs, and what it will have cost at its end.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    config: ConfigFile,
    /// As one JSON object
    #[arg(long)]
    json: bool,
}

/// # Errors
/// When the relay does not answer.
pub(crate) fn execute(arguments: &Arguments) -> anyhow::Result<()> {
    let relay = RelayAdmin::of(&arguments.config)?;
    let mut screen = Screen::stdout();
    match arguments.json {
        true => screen.line(relay.text(COST)?.trim_end())?,
        false => print(&mut screen, &relay.get(COST)?)?,
    }
    Ok(())
}

fn print(screen: &mut Screen, cost: &Cost) -> anyhow::Result<()> {
    let left = quantity::span(cost.seconds_left);
    screen.heading(&format!("{} to {}, {left} left", cost.period_start, cost.period_end))?;
    let billed = quantity::bytes(cost.billed_bytes);
    let of_included = |price: &Priced| match price.included_bytes {
        0 => String::new(),
        included => format!(" of {} included", quantity::bytes(included)),
    };
    let included = cost.price.as_ref().map(of_included).unwrap_or_default();
    let doubt = if cost.low_confidence { " (a guess: the ledger is younger than a day)" } else { "" };
    let projected = quantity::bytes(cost.projected_bytes);
    screen.pair("Billed", &format!("{billed}{included}, {projected} at the end{doubt}"))?;
    match &cost.price {
        Some(price) => print_price(screen, price)?,
        None => screen
            .pair("Price", "none is set: cost.preset or cost.tiers give one (`turnpike config check`)")?,
    }
    print_days(screen, cost)?;
    print_comparison(screen, cost)
}

fn print_price(screen: &mut Screen, price: &Priced) -> anyhow::Result<()> {
    let money = |amount: f64| quantity::money(amount, &price.byte.currency);
    let (total, base, traffic) = (money(price.total()), money(price.base), money(price.traffic));
    let projected = money(price.projected_total());
    screen.pair("Cost", &format!("{total} ({base} base, {traffic} traffic), {projected} at the end"))?;
    let per_gb = |byte: f64| format!("{} a GB", money(byte * 1e9));
    screen.pair(
        "Next byte",
        &match price.byte.marginal {
            0.0 => "included".to_owned(),
            byte => per_gb(byte),
        },
    )?;
    screen.pair("On average", &per_gb(price.byte.blended))?;
    let source = price.source.as_deref().unwrap_or("your own, from [cost]");
    Ok(screen.pair("Price", source)?)
}

fn print_days(screen: &mut Screen, cost: &Cost) -> anyhow::Result<()> {
    if cost.days.is_empty() {
        return Ok(());
    }
    let mut columns = vec![("Day (UTC)", Side::Left), ("Billed", Side::Right)];
    columns.extend(cost.price.is_some().then_some(("Cost", Side::Right)));
    let mut table = Table::new(&columns);
    for day in &cost.days {
        let mut row = vec![day.day.clone(), quantity::bytes(day.billed_bytes)];
        if let Some(price) = &cost.price {
            row.push(quantity::money(day.cost.unwrap_or(0.0), &price.byte.currency));
        }
        table.row(row);
    }
    screen.line("")?;
    Ok(screen.table(&table)?)
}

fn print_comparison(screen: &mut Screen, cost: &Cost) -> anyhow::Result<()> {
    if cost.comparison.is_empty() {
        return Ok(());
    }
    let currency = cost.price.as_ref().map_or("", |price| price.byte.currency.as_str());
    let mut table = Table::new(&[
        ("Elsewhere", Side::Left),
        ("Counted", Side::Right),
        ("Cost", Side::Right),
        ("At the end", Side::Right),
        ("Here it is then", Side::Left),
    ]);
    for there in &cost.comparison {
        let verdict = match there.projected_saving {
            None => String::new(),
            Some(saving) if saving < 0.0 => format!("{} dearer", quantity::money(-saving, currency)),
            Some(saving) => format!("{} cheaper", quantity::money(saving, currency)),
        };
        table.row(vec![
            there.vendor.clone(),
            quantity::bytes(there.billed_bytes),
            quantity::money(there.cost, currency),
            quantity::money(there.projected_cost, currency),
            verdict,
        ]);
    }
    screen.line("")?;
    Ok(screen.table(&table)?)
}
