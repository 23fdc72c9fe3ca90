//! The figures to reach: ratios of one round each, so that a machine that slows down slows both.

use serde::Serialize;

use super::{Report, Sample, Spread};
use crate::{cells, load::Seen, measure::Measured};

/// One figure and what was seen of it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Figure {
    /// What it says.
    pub what: String,
    /// Where it has to be.
    pub bound: Bound,
    /// What comes behind a value.
    pub unit: &'static str,
    /// Over the rounds.
    pub seen: Spread,
}

/// Where a figure has to be.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub enum Bound {
    /// Not above.
    AtMost(f64),
    /// Not below.
    AtLeast(f64),
}

impl Figure {
    /// Whether the median is where it has to be.
    pub fn is_met(&self) -> bool {
        match self.bound {
            Bound::AtMost(most) => self.seen.median <= most,
            Bound::AtLeast(least) => self.seen.median >= least,
        }
    }

    /// The bound in words.
    pub fn reach(&self) -> String {
        match self.bound {
            Bound::AtMost(most) => format!("<= {most}{}", self.unit),
            Bound::AtLeast(least) => format!(">= {least}{}", self.unit),
        }
    }
}

type Value = fn(&Measured) -> Option<f64>;
/// What it says, its value, and the cell and server of both sides of the ratio.
type Ratio<'a> = (&'a str, Value, Place<'a>, Place<'a>, Bound);
type Place<'a> = (&'a str, &'a str);

/// Every figure whose cells and servers were run.
pub fn figures(report: &Report) -> Vec<Figure> {
    use Bound::{AtLeast, AtMost};
    let ours = cells::OURS.name();
    let two = cells::TWO_SHARDS.name();
    let (coturn, plain, segments) = ("coturn", cells::PLAIN.name(), cells::SEGMENTS.name());
    let (ours, plain, segments, two) = (ours.as_str(), plain.as_str(), segments.as_str(), two.as_str());
    let ratios: [Ratio<'_>; 12] = [
        (
            "thin flows, processor each, of the bare forwarder's",
            cpu,
            ("thin", ours),
            ("thin", plain),
            AtMost(1.05),
        ),
        ("thin flows, processor each, of coturn's", cpu, ("thin", ours), ("thin", coturn), AtMost(1.0)),
        ("bursts of 16, delivered, of coturn's", delivered, ("burst", ours), ("burst", coturn), AtLeast(1.3)),
        ("bursts of 16, processor each, of coturn's", cpu, ("burst", ours), ("burst", coturn), AtMost(0.65)),
        (
            "bursts of 16, processor each, of the bare GSO forwarder's",
            cpu,
            ("burst", ours),
            ("burst", segments),
            AtMost(1.2),
        ),
        ("relay to relay, processor each, of coturn's", cpu, ("pairs", ours), ("pairs", coturn), AtMost(0.6)),
        (
            "thin flows, processor each, Send and Data, of ChannelData's",
            cpu,
            ("thin_send", ours),
            ("thin", ours),
            AtMost(1.1),
        ),
        (
            "bursts of 16, processor each, Send and Data, of ChannelData's",
            cpu,
            ("burst_send", ours),
            ("burst", ours),
            AtMost(1.1),
        ),
        (
            "relay to relay, processor each, Send and Data, of ChannelData's",
            cpu,
            ("pairs_send", ours),
            ("pairs", ours),
            AtMost(1.1),
        ),
        ("allocations/s, of coturn's", per_second, ("allocate", ours), ("allocate", coturn), AtLeast(5.0)),
        ("p99 at half load, of coturn's", p99, ("half", ours), ("half", coturn), AtMost(1.0)),
        (
            "thin flows, processor each, two shards, of one shard's",
            cpu,
            ("thin", two),
            ("thin", ours),
            AtMost(1.1),
        ),
    ];
    let mut figures: Vec<Figure> = ratios
        .into_iter()
        .filter_map(|(what, value, of, to, bound)| {
            let seen = ratio(report, value, of, to)?;
            Some(Figure { what: what.into(), bound, unit: "x", seen })
        })
        .collect();
    let memory = report.of("allocate", ours).filter_map(|sample| kibibytes(&sample.measured));
    figures.extend(Spread::of(memory).map(|seen| Figure {
        what: "memory of an idle allocation".into(),
        bound: AtMost(4.0),
        unit: " KiB",
        seen,
    }));
    figures
}

/// Of the pairs of samples of one round.
fn ratio(report: &Report, value: Value, of: Place<'_>, to: Place<'_>) -> Option<Spread> {
    let pairs = report.of(of.0, of.1).filter_map(|sample| {
        let other = report.of(to.0, to.1).find(|other: &&Sample| other.round == sample.round)?;
        Some(value(&sample.measured)? / value(&other.measured)?)
    });
    Spread::of(pairs)
}

fn load(measured: &Measured) -> Option<&Seen> {
    match measured {
        Measured::Load(seen) => Some(seen),
        Measured::Allocations(_) => None,
    }
}

fn cpu(measured: &Measured) -> Option<f64> {
    load(measured)?.cpu_us
}

fn delivered(measured: &Measured) -> Option<f64> {
    Some(load(measured)?.delivered)
}

fn p99(measured: &Measured) -> Option<f64> {
    Some(load(measured)?.latency_us.p99)
}

fn per_second(measured: &Measured) -> Option<f64> {
    match measured {
        Measured::Allocations(made) => Some(made.per_second),
        Measured::Load(_) => None,
    }
}

fn kibibytes(measured: &Measured) -> Option<f64> {
    match measured {
        Measured::Allocations(made) => Some(made.memory / 1024.0),
        Measured::Load(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measure::Allocated;

    fn sample(round: usize, server: &str, per_second: f64) -> Sample {
        let made =
            Allocated { count: 1, per_second, memory: 2048.0, cpu_us: 1.0, retransmissions: 0, idle: 0.5 };
        Sample {
            round,
            cell: "allocate".into(),
            server: server.into(),
            measured: Measured::Allocations(made),
        }
    }

    #[test]
    fn ratios_are_of_one_round_and_what_was_not_run_is_not_there() {
        let samples = vec![
            sample(0, "turnpike", 6000.0),
            sample(0, "coturn", 1000.0),
            sample(1, "coturn", 2000.0),
            sample(1, "turnpike", 8000.0),
        ];
        let figures = figures(&Report { samples, ..Report::default() });
        assert_eq!(figures.len(), 2);
        assert_eq!(figures[0].seen, Spread { median: 5.0, least: 4.0, most: 6.0 });
        assert!(figures[0].is_met(), "{:?}", figures[0]);
        assert_eq!((figures[1].seen.median, figures[1].reach().as_str()), (2.0, "<= 4 KiB"));
    }
}
