use clap::Args;
use turnpike_relay_api::cost::{BUDGET, Budget, Spent, Step};

use super::ConfigFile;
use crate::{
    quantity,
    relay_admin::RelayAdmin,
    screen::{Screen, Verdict},
};

/// Show how far the budget of the billing period is spent, and what follows from it.
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
        true => screen.line(relay.text(BUDGET)?.trim_end())?,
        false => print(&mut screen, &relay.get(BUDGET)?)?,
    }
    Ok(())
}

fn print(screen: &mut Screen, budget: &Budget) -> anyhow::Result<()> {
    let Some(Spent { step, ratio }) = budget.spent else {
        return Ok(screen
            .line("no budget is set: budget.per_period gives one, such as \"900GiB\" or \"money:25\"")?);
    };
    let currency = budget.cost.price.as_ref().map_or("", |price| price.byte.currency.as_str());
    let (spent, limit, projected) = match (budget.limit_bytes, budget.limit_money) {
        (Some(limit), _) => (
            quantity::bytes(budget.cost.billed_bytes),
            quantity::bytes(limit),
            budget.cost.projected_bytes as f64 / limit as f64,
        ),
        (None, limit) => {
            let limit = limit.unwrap_or(0.0);
            let price = budget.cost.price.as_ref();
            let (now, end) = price.map_or((0.0, 0.0), |price| (price.total(), price.projected_total()));
            (quantity::money(now, currency), quantity::money(limit, currency), end / limit)
        }
    };
    let (verdict, holds) = match step {
        Step::Ok => (Verdict::Ok, "nothing is to be done".to_owned()),
        Step::Warn => (Verdict::Warn, "you are told, and nothing else is done".to_owned()),
        Step::Degrade => (Verdict::Warn, format!("every allocation has {} at most", slow(budget))),
        Step::Stop => {
            (Verdict::Fail, format!("no credentials, no new allocations; live ones {}", live(budget)))
        }
    };
    screen.verdict(verdict, "budget", &format!("{spent} of {limit}, {} spent: {holds}", percent(ratio)))?;
    screen.line("")?;
    screen.pair("Until", &format!("{} (UTC)", budget.cost.period_end))?;
    let doubt = if budget.cost.low_confidence { ", a guess: the ledger is younger than a day" } else { "" };
    screen.pair("At the end", &format!("{} spent{doubt}", percent(projected)))?;
    screen.pair(&format!("At {}", percent(budget.warn_at)), "warn: by log, metrics and here")?;
    screen.pair(
        &format!("At {}", percent(budget.degrade_at)),
        &format!("degrade: every allocation has {} at most", slow(budget)),
    )?;
    screen.pair(
        "At 100 %",
        &format!("stop: no credentials, no new allocations (508); STUN goes on; live ones {}", live(budget)),
    )?;
    Ok(())
}

fn percent(part: f64) -> String {
    format!("{:.0} %", (part * 100.0).floor())
}

fn slow(budget: &Budget) -> String {
    match budget.degraded_bitrate {
        0 => "no limit".to_owned(),
        bits => quantity::rate(bits as f64),
    }
}

fn live(budget: &Budget) -> &'static str {
    if budget.cut { "end" } else { "go on" }
}
