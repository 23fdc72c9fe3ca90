//! What a run has shown, as a table beside the figures to reach.

use std::{fmt::Write as _, time::Duration};

use rustix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};

use crate::{idle::Idle, matches::Matches, servers::Kind, signals::Signals, storm::Storm};

/// Time that all threads of this process have run.
pub fn own_processor_time() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), time.tv_nsec as u32)
}

/// What one scenario has shown at one server.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Seen {
    /// Sockets that do nothing.
    Idle(Idle),
    /// Strangers who are paired.
    Matches(Matches),
    /// Pairs that negotiate.
    Signals(Signals),
    /// A restart.
    Storm(Storm),
}

/// One run of one scenario.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Sample {
    /// At which server.
    pub server: Kind,
    /// What came of it.
    pub seen: Seen,
}

impl Sample {
    /// One line for who watches.
    pub fn line(&self) -> String {
        let server = self.server.name();
        match &self.seen {
            Seen::Idle(Idle { sockets, connected_seconds, memory_kib, server_cpu, lost }) => format!(
                "{server}: {sockets} idle sockets, {memory_kib:.1} KiB each, connected in {connected_seconds:.1} s, \
                 {:.1} % of a processor, {lost} lost",
                server_cpu * 100.0
            ),
            Seen::Matches(seen) => format!(
                "{server}: {:.0} of {:.0} matches/s, join to found p50 {:.2} ms, p99 {:.2} ms, {:.0} us of the server and \
                 {:.0} us of the crowd for each, {} double, {} half, {} with oneself",
                seen.started,
                seen.offered,
                seen.join_to_found_us.p50 / 1000.0,
                seen.join_to_found_us.p99 / 1000.0,
                seen.server_us,
                seen.crowd_us,
                seen.wrong.double,
                seen.wrong.half,
                seen.wrong.own
            ),
            Seen::Signals(seen) => format!(
                "{server}: {:.0} signals/s of {} pairs, p50 {:.2} ms, p99 {:.2} ms, p99.9 {:.2} ms, {} lost, {} out of order, \
                 {:.1} us of the server and {:.1} us of the crowd for each",
                seen.relayed,
                seen.pairs,
                seen.latency_us.p50 / 1000.0,
                seen.latency_us.p99 / 1000.0,
                seen.latency_us.p999 / 1000.0,
                seen.lost,
                seen.out_of_order,
                seen.server_us,
                seen.crowd_us
            ),
            Seen::Storm(seen) => format!(
                "{server}: restarted in {:.2} s; of {} clients {} are back, half after {:.1} s, 99 % after {:.1} s, {} with \
                 their pair",
                seen.away_seconds,
                seen.clients,
                seen.back,
                seen.half_back_seconds,
                seen.back_99_seconds,
                seen.pairs_resumed
            ),
        }
    }
}

/// A row of the table: what, the figure to reach, and how it is read from a sample.
struct Row {
    what: &'static str,
    reach: &'static str,
    read: fn(&Seen) -> Option<f64>,
    digits: usize,
}

const ROWS: &[Row] = &[
    Row {
        what: "idle sockets, KiB each",
        reach: "40",
        read: |seen| if let Seen::Idle(seen) = seen { Some(seen.memory_kib) } else { None },
        digits: 1,
    },
    Row {
        what: "idle sockets, % of a processor",
        reach: "",
        read: |seen| if let Seen::Idle(seen) = seen { Some(seen.server_cpu * 100.0) } else { None },
        digits: 1,
    },
    Row {
        what: "matches/s",
        reach: "500",
        read: |seen| if let Seen::Matches(seen) = seen { Some(seen.started) } else { None },
        digits: 0,
    },
    Row {
        what: "join to found with a partner waiting, p99, ms",
        reach: "50",
        read: |seen| {
            if let Seen::Matches(seen) = seen { Some(seen.join_to_found_us.p99 / 1000.0) } else { None }
        },
        digits: 2,
    },
    Row {
        what: "server's processor for a match, us",
        reach: "",
        read: |seen| if let Seen::Matches(seen) = seen { Some(seen.server_us) } else { None },
        digits: 0,
    },
    Row {
        what: "double, half and own pairs",
        reach: "0",
        read: |seen| match seen {
            Seen::Matches(seen) => Some((seen.wrong.double + seen.wrong.half + seen.wrong.own) as f64),
            _ => None,
        },
        digits: 0,
    },
    Row {
        what: "relayed signals/s",
        reach: "10,000",
        read: |seen| if let Seen::Signals(seen) = seen { Some(seen.relayed) } else { None },
        digits: 0,
    },
    Row {
        what: "signal, p99, ms",
        reach: "15",
        read: |seen| if let Seen::Signals(seen) = seen { Some(seen.latency_us.p99 / 1000.0) } else { None },
        digits: 2,
    },
    Row {
        what: "server's processor for a signal, us",
        reach: "",
        read: |seen| if let Seen::Signals(seen) = seen { Some(seen.server_us) } else { None },
        digits: 1,
    },
    Row {
        what: "signals lost or out of order",
        reach: "0",
        read: |seen| match seen {
            Seen::Signals(seen) => Some((seen.lost + seen.out_of_order) as f64),
            _ => None,
        },
        digits: 0,
    },
    Row {
        what: "restart: 99 % are back after, s",
        reach: "10",
        read: |seen| if let Seen::Storm(seen) = seen { Some(seen.back_99_seconds) } else { None },
        digits: 1,
    },
    Row {
        what: "restart: clients without their pair",
        reach: "0",
        read: |seen| match seen {
            Seen::Storm(seen) => Some((seen.clients - seen.pairs_resumed) as f64),
            _ => None,
        },
        digits: 0,
    },
];

/// The medians over all samples, with their spread where there are several, as a Markdown table.
pub fn table(samples: &[Sample]) -> String {
    let mut text = String::from("| what | reach | turnpike | Socket.IO on Node |\n|---|---|---|---|\n");
    for row in ROWS {
        let cells = [Kind::Turnpike, Kind::Node].map(|server| {
            let values = samples.iter().filter(|sample| sample.server == server);
            cell(values.filter_map(|sample| (row.read)(&sample.seen)).collect(), row.digits)
        });
        if cells.iter().any(|cell| cell != "-") {
            let _ = writeln!(text, "| {} | {} | {} | {} |", row.what, row.reach, cells[0], cells[1]);
        }
    }
    text
}

fn cell(mut values: Vec<f64>, digits: usize) -> String {
    values.sort_by(f64::total_cmp);
    match values.as_slice() {
        [] => "-".to_owned(),
        [one] => format!("{one:.digits$}"),
        [first, .., last] => {
            format!("{:.digits$} ({first:.digits$} to {last:.digits$})", values[(values.len() - 1) / 2])
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn idle(server: Kind, memory_kib: f64) -> Sample {
        let idle = Idle { sockets: 1, connected_seconds: 1.0, memory_kib, server_cpu: 0.015, lost: 0 };
        Sample { server, seen: Seen::Idle(idle) }
    }

    #[test]
    fn a_table_has_medians_and_spreads_beside_the_figures_to_reach() {
        let samples = [
            idle(Kind::Turnpike, 12.0),
            idle(Kind::Turnpike, 10.0),
            idle(Kind::Turnpike, 17.0),
            idle(Kind::Node, 50.0),
        ];
        let table = table(&samples);
        assert!(table.contains("| idle sockets, KiB each | 40 | 12.0 (10.0 to 17.0) | 50.0 |"), "{table}");
        assert!(!table.contains("matches"), "{table}");
    }
}
