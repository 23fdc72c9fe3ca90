//! Latencies.

use std::time::Duration;

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

/// Longest latency that is told apart: 10 s.
const LONGEST_NS: u64 = 10_000_000_000;

/// Latencies as they are recorded.
pub struct Latencies(Histogram<u32>);

/// Percentiles in microseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Percentiles {
    /// Median.
    pub p50: f64,
    /// 99 %.
    pub p99: f64,
    /// 99.9 %.
    pub p999: f64,
}

impl Default for Latencies {
    fn default() -> Self {
        Self(Histogram::new_with_max(LONGEST_NS, 3).expect("the bounds are those of a histogram"))
    }
}

impl Latencies {
    /// Records one.
    pub fn record(&mut self, latency: Duration) {
        self.0.saturating_record(latency.as_nanos() as u64);
    }

    /// Takes those of another in.
    pub fn add(&mut self, other: &Self) {
        self.0.add(&other.0).expect("both have the same bounds");
    }

    /// The percentiles so far.
    pub fn percentiles(&self) -> Percentiles {
        let at = |quantile| self.0.value_at_quantile(quantile) as f64 / 1000.0;
        Percentiles { p50: at(0.5), p99: at(0.99), p999: at(0.999) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_those_of_what_was_recorded() {
        let mut latencies = Latencies::default();
        (1..=1000).for_each(|n| latencies.record(Duration::from_micros(n)));
        let Percentiles { p50, p99, p999 } = latencies.percentiles();
        for (seen, expected) in [(p50, 500.0), (p99, 990.0), (p999, 999.0)] {
            assert!((seen / expected - 1.0f64).abs() < 0.01, "{seen} for {expected}");
        }
    }
}
