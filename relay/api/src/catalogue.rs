//! What a service exports for Prometheus, as a list.

use serde::Serialize;

/// One metric of a service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct MetricRow {
    /// `relay` or `signaling`.
    pub component: &'static str,
    /// With its prefix.
    pub name: String,
    /// `counter`, `gauge` or `histogram`.
    pub kind: &'static str,
    /// The names of its labels.
    pub labels: Vec<String>,
    /// One sentence.
    pub help: String,
}
