use std::{cmp::Reverse, collections::HashMap, thread, time::Duration};

use clap::{Args, Subcommand, ValueEnum};
use turnpike_relay_api::{
    admin::{Ended, KILL, SESSIONS, Session, Sessions, Traffic},
    target::Target,
};

use super::ConfigFile;
use crate::{
    exit::Shown,
    quantity,
    relay_admin::RelayAdmin,
    screen::Screen,
    table::{Side, Table},
};

/// How long a rate is measured.
const MEASURE: Duration = Duration::from_secs(1);

/// List the live allocations, or end one.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    action: Option<Action>,
    #[command(flatten)]
    config: ConfigFile,
    /// What comes first
    #[arg(long, value_enum, default_value_t = Sort::Bytes)]
    sort: Sort,
    /// As one JSON object
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// End an allocation; its credential serves on
    Kill {
        /// The allocation, as `sessions` shows it
        // One in 64 ids begins with a hyphen.
        #[arg(allow_hyphen_values = true)]
        id: String,
        #[command(flatten)]
        config: ConfigFile,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Sort {
    /// The most bytes
    Bytes,
    /// The highest rate, measured for a second
    Rate,
    /// The oldest
    Age,
}

/// # Errors
/// When the relay does not answer; [`Shown`] when there was nothing to end.
pub(crate) fn execute(arguments: &Arguments) -> anyhow::Result<()> {
    if let Some(Action::Kill { id, config }) = &arguments.action {
        return kill(&RelayAdmin::of(config)?, id);
    }
    let relay = RelayAdmin::of(&arguments.config)?;
    if arguments.json {
        return Ok(Screen::stdout().line(relay.text(SESSIONS)?.trim_end())?);
    }
    let before = match arguments.sort {
        Sort::Rate => {
            let before: Sessions = relay.get(SESSIONS)?;
            thread::sleep(MEASURE);
            before.sessions.into_iter().map(|session| (session.id, all(&session.traffic))).collect()
        }
        Sort::Bytes | Sort::Age => HashMap::new(),
    };
    let Sessions { mut sessions } = relay.get(SESSIONS)?;
    let rate = |session: &Session| {
        let since = before.get(&session.id).copied().unwrap_or(0);
        (all(&session.traffic).saturating_sub(since)) * 8 / MEASURE.as_secs()
    };
    match arguments.sort {
        Sort::Bytes => sessions.sort_by_key(|session| Reverse(all(&session.traffic))),
        Sort::Rate => sessions.sort_by_key(|session| Reverse(rate(session))),
        Sort::Age => sessions.sort_by_key(|session| Reverse(session.age_seconds)),
    }
    let with_rate = arguments.sort == Sort::Rate;
    print(&sessions, with_rate.then_some(&rate as &dyn Fn(&Session) -> u64))
}

fn kill(relay: &RelayAdmin, id: &str) -> anyhow::Result<()> {
    let ended: Ended = relay.post(KILL, &Target::Allocation(id.to_owned()))?;
    let mut screen = Screen::stdout();
    match ended.ended {
        0 => {
            screen.line(&format!("no live allocation is {id}: `turnpike sessions` lists them"))?;
            Err(Shown.into())
        }
        _ => Ok(screen.line(&format!("{id} has ended"))?),
    }
}

fn print(sessions: &[Session], rate: Option<&dyn Fn(&Session) -> u64>) -> anyhow::Result<()> {
    let mut columns = vec![
        ("Allocation", Side::Left),
        ("Subject", Side::Left),
        ("Via", Side::Left),
        ("Client", Side::Left),
        ("Relayed", Side::Left),
        ("Age", Side::Right),
        ("From client", Side::Right),
        ("To client", Side::Right),
        ("To peers", Side::Right),
        ("From peers", Side::Right),
    ];
    if rate.is_some() {
        columns.push(("Rate", Side::Right));
    }
    let mut table = Table::new(&columns);
    for session in sessions {
        let traffic = &session.traffic;
        let flows = [traffic.client_in, traffic.client_out, traffic.peer_out, traffic.peer_in];
        let mut row = vec![
            session.id.clone(),
            session.subject.clone(),
            session.transport.clone(),
            session.client.to_string(),
            session.relayed.to_string(),
            quantity::span(session.age_seconds),
        ];
        row.extend(flows.map(|flow| quantity::bytes(flow.bytes)));
        row.extend(rate.map(|rate| quantity::rate(rate(session) as f64)));
        table.row(row);
    }
    let mut screen = Screen::stdout();
    match sessions.is_empty() {
        true => screen.line("no live allocations")?,
        false => screen.table(&table)?,
    }
    Ok(())
}

fn all(traffic: &Traffic) -> u64 {
    traffic.client_in.bytes + traffic.client_out.bytes + traffic.peer_in.bytes + traffic.peer_out.bytes
}
