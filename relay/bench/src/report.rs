//! What a run has shown: every sample, and of them medians, spreads and ratios, as a table, Markdown or JSON.

mod figures;

use std::{collections::BTreeMap, fmt::Write as _};

use serde::{Deserialize, Serialize};

use crate::{
    load::Seen,
    measure::{Allocated, Measured},
};

pub use figures::{Figure, figures};

/// One cell at one server in one round.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Sample {
    /// Which round, from 0.
    pub round: usize,
    /// The cell's key.
    pub cell: String,
    /// The server's name.
    pub server: String,
    /// What was seen.
    pub measured: Measured,
}

/// System calls for each relayed datagram: by cell, by server, each with its name.
pub type Syscalls = BTreeMap<String, BTreeMap<String, Vec<(String, f64)>>>;

/// A whole run.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// How often each cell was run.
    pub rounds: usize,
    /// Key and title of each cell, in order.
    pub cells: Vec<(String, String)>,
    /// Everything that was seen.
    pub samples: Vec<Sample>,
    /// Relayed datagrams a second of the cell at half load.
    pub half: Option<f64>,
    /// The configuration of each server.
    pub configurations: BTreeMap<String, String>,
    /// System calls for each relayed datagram, by cell and server.
    pub syscalls: Syscalls,
    /// What it was run on.
    pub machine: String,
    /// When, and with which options.
    pub options: String,
}

/// Median, least and most.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Spread {
    /// The middle one, or between the two middle ones.
    pub median: f64,
    /// The least.
    pub least: f64,
    /// The most.
    pub most: f64,
}

impl Spread {
    /// Of values; none of none.
    pub fn of(values: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut values: Vec<f64> = values.into_iter().filter(|value| value.is_finite()).collect();
        values.sort_by(f64::total_cmp);
        let middle = values.len() / 2;
        let median = match values.len() % 2 {
            1 => values[middle],
            _ => (values.get(middle.checked_sub(1)?)? + values[middle]) / 2.0,
        };
        Some(Self { median, least: *values.first()?, most: *values.last()? })
    }

    /// The same with a word for how it is written.
    fn show(self, write: impl Fn(f64) -> String) -> String {
        match self.least == self.most {
            true => write(self.median),
            false => format!("{} ({}..{})", write(self.median), write(self.least), write(self.most)),
        }
    }
}

impl Sample {
    /// One line about it.
    pub fn line(&self, title: &str) -> String {
        let server = &self.server;
        match &self.measured {
            Measured::Load(seen) => {
                let cpu =
                    seen.cpu_us.map_or(String::new(), |cpu| format!(", {cpu:.2} us of its processor each"));
                let itself = if seen.measured_itself() { ", the generator measured itself" } else { "" };
                format!(
                    "{title}: {server}: {:.0} delivered/s{cpu}, loss {:.3} %, p99 {:.0} us, generator {:.0} % idle{itself}",
                    seen.delivered,
                    seen.loss() * 100.0,
                    seen.latency_us.p99,
                    seen.idle * 100.0
                )
            }
            Measured::Allocations(made) => format!(
                "{title}: {server}: {:.0} allocations/s, {:.1} us of its processor and {:.2} KiB each, generator {:.0} % idle",
                made.per_second,
                made.cpu_us,
                made.memory / 1024.0,
                made.idle * 100.0
            ),
        }
    }
}

impl Report {
    /// What was seen of a cell at a server, by round.
    pub fn of(&self, cell: &str, server: &str) -> impl Iterator<Item = &Sample> {
        self.samples.iter().filter(move |sample| sample.cell == cell && sample.server == server)
    }

    /// Servers of a cell in the order of their first samples.
    pub fn servers_of(&self, cell: &str) -> Vec<&str> {
        let mut servers: Vec<&str> = Vec::new();
        for sample in self.samples.iter().filter(|sample| sample.cell == cell) {
            if !servers.contains(&sample.server.as_str()) {
                servers.push(&sample.server);
            }
        }
        servers
    }

    /// The report as Markdown.
    pub fn markdown(&self) -> String {
        let mut text =
            format!("{}. {} rounds; median (least..most). {}\n\n", self.machine, self.rounds, self.options);
        self.write_figures(&mut text);
        self.write_loads(&mut text);
        self.write_allocations(&mut text);
        self.write_syscalls(&mut text);
        for (server, config) in &self.configurations {
            let _ = write!(text, "\n{server}:\n\n```\n{config}```\n");
        }
        text
    }

    fn write_figures(&self, text: &mut String) {
        let figures = figures(self);
        if figures.is_empty() {
            return;
        }
        text.push_str("| what | reach | seen | |\n|---|---|---|---|\n");
        for figure in figures {
            let seen = figure.seen.show(|value| format!("{value:.2}{}", figure.unit));
            let met = if figure.is_met() { "met" } else { "missed" };
            let _ = writeln!(text, "| {} | {} | {seen} | {met} |", figure.what, figure.reach());
        }
        text.push('\n');
    }

    fn write_loads(&self, text: &mut String) {
        text.push_str(
            "| cell | server | delivered/s | loss % | processor of the server, us each | p50 us | p99 us | p99.9 us | generator idle % |\n\
             |---|---|---|---|---|---|---|---|---|\n",
        );
        for (key, title) in &self.cells {
            for server in self.servers_of(key) {
                let seen = |value: fn(&Seen) -> f64| {
                    let values = self.of(key, server).filter_map(|sample| match &sample.measured {
                        Measured::Load(seen) => Some(value(seen)),
                        Measured::Allocations(_) => None,
                    });
                    Spread::of(values)
                };
                let Some(delivered) = seen(|seen| seen.delivered) else { continue };
                let whole = |value: fn(&Seen) -> f64| {
                    seen(value)
                        .map_or_else(|| "-".into(), |spread| spread.show(|value| format!("{value:.0}")))
                };
                let parts = |value: fn(&Seen) -> f64| {
                    seen(value)
                        .map_or_else(|| "-".into(), |spread| spread.show(|value| format!("{value:.2}")))
                };
                let itself = match seen(|seen| seen.idle) {
                    Some(idle) if idle.median < 0.2 => " (measured itself)",
                    _ => "",
                };
                let _ = writeln!(
                    text,
                    "| {title} | {server} | {} | {} | {} | {} | {} | {} | {}{itself} |",
                    delivered.show(|value| format!("{value:.0}")),
                    parts(|seen| seen.loss() * 100.0),
                    parts(|seen| seen.cpu_us.unwrap_or(f64::NAN)),
                    whole(|seen| seen.latency_us.p50),
                    whole(|seen| seen.latency_us.p99),
                    whole(|seen| seen.latency_us.p999),
                    whole(|seen| seen.idle * 100.0),
                );
            }
        }
    }

    fn write_allocations(&self, text: &mut String) {
        let made = |key: &str, server: &str, value: fn(&Allocated) -> f64| {
            Spread::of(self.of(key, server).filter_map(|sample| match &sample.measured {
                Measured::Allocations(made) => Some(value(made)),
                Measured::Load(_) => None,
            }))
        };
        let rows: Vec<String> = self
            .cells
            .iter()
            .flat_map(|(key, _)| self.servers_of(key).into_iter().map(move |server| (key, server)))
            .filter_map(|(key, server)| {
                let per_second = made(key, server, |made| made.per_second)?;
                let cpu = made(key, server, |made| made.cpu_us)?;
                let memory = made(key, server, |made| made.memory / 1024.0)?;
                Some(format!(
                    "| {server} | {} | {} | {} |\n",
                    per_second.show(|value| format!("{value:.0}")),
                    cpu.show(|value| format!("{value:.0}")),
                    memory.show(|value| format!("{value:.2}"))
                ))
            })
            .collect();
        if !rows.is_empty() {
            text.push_str("\n| server | allocations/s | processor of the server, us each | memory, KiB each |\n|---|---|---|---|\n");
            text.extend(rows);
        }
    }

    fn write_syscalls(&self, text: &mut String) {
        if self.syscalls.is_empty() {
            return;
        }
        text.push_str("\n| cell | server | system calls for each relayed datagram |\n|---|---|---|\n");
        for (key, title) in &self.cells {
            for (server, calls) in self.syscalls.get(key).into_iter().flatten() {
                let sum: f64 = calls.iter().map(|(_, count)| count).sum();
                let most: Vec<String> = calls
                    .iter()
                    .filter(|(_, count)| *count >= 0.01)
                    .map(|(name, count)| format!("{name} {count:.2}"))
                    .collect();
                let _ = writeln!(text, "| {title} | {server} | {sum:.2}: {} |", most.join(", "));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_are_in_the_middle() {
        let of = |values: &[f64]| Spread::of(values.iter().copied()).map(|spread| spread.median);
        assert_eq!(of(&[]), None);
        assert_eq!(of(&[3.0]), Some(3.0));
        assert_eq!(of(&[9.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(of(&[9.0, 1.0, 2.0, 4.0, f64::NAN]), Some(3.0));
    }
}
