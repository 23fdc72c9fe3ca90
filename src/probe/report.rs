//! What was found, in the order in which it was tried.

use std::time::Duration;

use serde::{Serialize, Serializer};

use crate::screen::Verdict;

/// One thing that was tried.
#[derive(Debug, Serialize)]
pub(crate) struct Finding {
    #[serde(serialize_with = "word")]
    pub(crate) verdict: Verdict,
    /// What it is about, in a word.
    pub(crate) check: &'static str,
    /// What was found, and what to do where it is not in order.
    pub(crate) found: String,
}

/// One way to a server.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    pub(crate) transport: String,
    pub(crate) server: String,
    pub(crate) findings: Vec<Finding>,
    #[serde(flatten)]
    pub(crate) figures: Figures,
}

/// What was measured; absent is what was not come to.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Figures {
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "optional_ms")]
    pub(crate) answer_ms: Option<Duration>,
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "optional_ms")]
    pub(crate) allocation_ms: Option<Duration>,
    /// Through the relay and back.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "optional_ms")]
    pub(crate) echo_median_ms: Option<Duration>,
    /// Of the echo, 0 to 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) echo_lost: Option<f64>,
    /// Payload through two allocations, one way.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) megabits_per_second: Option<f64>,
}

impl Report {
    pub(crate) fn say(&mut self, verdict: Verdict, check: &'static str, found: impl Into<String>) {
        self.findings.push(Finding { verdict, check, found: found.into() });
    }

    pub(crate) fn has_failed(&self) -> bool {
        self.findings.iter().any(|finding| finding.verdict == Verdict::Fail)
    }
}

/// Milliseconds for a person.
pub(super) fn ms(duration: Duration) -> String {
    let ms = duration.as_secs_f64() * 1000.0;
    match ms {
        ..10.0 => format!("{ms:.1} ms"),
        _ => format!("{ms:.0} ms"),
    }
}

fn word<S: Serializer>(verdict: &Verdict, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(verdict.word())
}

fn optional_ms<S: Serializer>(duration: &Option<Duration>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_some(&duration.map(|duration| duration.as_secs_f64() * 1000.0))
}
