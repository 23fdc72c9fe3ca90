//! The alternating run: in each round every cell at every server, the order of servers turned from round to round.

use anyhow::Context as _;

use crate::{
    cells::{CAPACITY, Cell, Work},
    measure::{Measured, measure, syscalls},
    report::{Report, Sample, Syscalls},
    servers::{Kind, Programs},
};

/// What is run.
pub struct Comparison {
    /// Every cell.
    pub cells: Vec<Cell>,
    /// How often.
    pub rounds: usize,
    /// Who may take part; a cell's other servers are left out.
    pub servers: Vec<Kind>,
    /// Count system calls too, once behind the rounds.
    pub syscalls: bool,
}

/// Runs it; `tell` is given a line for each cell that is done.
///
/// # Errors
/// What went wrong in which cell.
pub fn compare(
    comparison: &Comparison,
    programs: &Programs,
    mut tell: impl FnMut(&str),
) -> anyhow::Result<Report> {
    let mut report = Report {
        rounds: comparison.rounds,
        cells: comparison.cells.iter().map(|cell| (cell.key.to_owned(), cell.title.clone())).collect(),
        ..Report::default()
    };
    let mut half = None;
    for round in 0..comparison.rounds {
        for cell in &comparison.cells {
            let mut servers: Vec<Kind> =
                cell.servers.iter().copied().filter(|kind| comparison.servers.contains(kind)).collect();
            let turned = round % servers.len().max(1);
            servers.rotate_left(turned);
            let mut slowest: Option<f64> = None;
            for kind in servers {
                let (measured, config) = measure(cell.work, kind, programs, half)
                    .with_context(|| format!("{} at {}", cell.title, kind.name()))?;
                if let Measured::Load(seen) = measured {
                    slowest = Some(slowest.map_or(seen.delivered, |slowest| slowest.min(seen.delivered)));
                }
                let sample = Sample { round, cell: cell.key.into(), server: kind.name(), measured };
                tell(&format!("round {} of {}: {}", round + 1, comparison.rounds, sample.line(&cell.title)));
                report.configurations.insert(kind.name(), config);
                report.samples.push(sample);
            }
            // The same for all rounds, so that they can be compared.
            if cell.key == CAPACITY && half.is_none() {
                half = slowest.map(|slowest| slowest / 2.0);
                report.half = half;
            }
        }
    }
    if comparison.syscalls {
        report.syscalls = count_syscalls(comparison, programs)?;
    }
    Ok(report)
}

fn count_syscalls(comparison: &Comparison, programs: &Programs) -> anyhow::Result<Syscalls> {
    let mut counted = Syscalls::new();
    for cell in &comparison.cells {
        let Work::Load(plan) = cell.work else { continue };
        for kind in cell.servers.iter().filter(|kind| comparison.servers.contains(kind)) {
            let calls = syscalls(plan, *kind, programs)
                .with_context(|| format!("system calls of {} at {}", cell.title, kind.name()))?;
            counted.entry(cell.key.to_owned()).or_default().insert(kind.name(), calls);
        }
    }
    Ok(counted)
}
