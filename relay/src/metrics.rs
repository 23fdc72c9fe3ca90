//! `/metrics`, `/healthz` and `/readyz` over TCP.

pub(crate) mod distribution;
pub(crate) mod host;
mod table;

use std::net::{SocketAddr, TcpListener as StdListener};

use axum::{
    Router,
    extract::State,
    http::{StatusCode, header::CONTENT_TYPE},
    response::{IntoResponse, Response},
    routing::get,
};
use prometheus::{
    Encoder as _, Registry, TEXT_FORMAT, TextEncoder,
    core::{Collector, Desc},
    proto::{Bucket, Counter, Gauge, Histogram, LabelPair, Metric, MetricFamily, MetricType},
};
use tokio::net::TcpListener;

use turnpike_relay_api::catalogue::MetricRow;

use self::{
    distribution::Distribution,
    table::{Kind, Reading, Row, TABLE},
};
use crate::{StartError, view::SharedView};

/// Opens the listener.
///
/// # Errors
/// [`StartError::Metrics`].
pub(crate) fn bind(address: SocketAddr) -> Result<(TcpListener, SocketAddr), StartError> {
    let open = || {
        let listener = StdListener::bind(address)?;
        listener.set_nonblocking(true)?;
        let bound = listener.local_addr()?;
        Ok((TcpListener::from_std(listener)?, bound))
    };
    open().map_err(|source| StartError::Metrics { address, source })
}

/// The endpoints.
pub(crate) fn router(view: SharedView) -> Router {
    Router::new()
        .route("/metrics", get(metrics))
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .with_state(view)
}

async fn metrics(State(view): State<SharedView>) -> Response {
    ([(CONTENT_TYPE, TEXT_FORMAT)], render(view)).into_response()
}

async fn healthz(State(view): State<SharedView>) -> (StatusCode, &'static str) {
    match view.is_alive() {
        true => (StatusCode::OK, "ok\n"),
        false => (StatusCode::SERVICE_UNAVAILABLE, "a shard hangs\n"),
    }
}

/// A spent budget leaves STUN and live allocations: ready, and told in the body.
async fn readyz(State(view): State<SharedView>) -> (StatusCode, String) {
    let (code, word) = match view.is_draining() {
        true => (StatusCode::SERVICE_UNAVAILABLE, "draining"),
        false => (StatusCode::OK, "ready"),
    };
    let budget = view.node.budget.spent().map(|spent| {
        format!("budget: {}, {:.0} % spent\n", spent.step.name(), (spent.ratio * 100.0).floor())
    });
    (code, format!("{word}\n{}", budget.unwrap_or_default()))
}

fn render(view: SharedView) -> Vec<u8> {
    let registry = Registry::new();
    let exporter = Exporter::new(view);
    registry.register(Box::new(exporter)).expect("the names of the table are valid and distinct");
    let mut text = Vec::new();
    TextEncoder::new().encode(&registry.gather(), &mut text).expect("no family of the table is empty");
    text
}

/// Every metric of the relay.
pub fn catalogue() -> Vec<MetricRow> {
    let row = |row: &Row| MetricRow {
        component: "relay",
        name: row.name.to_owned(),
        kind: row.kind.name(),
        labels: row.labels.iter().map(|label| (*label).to_owned()).collect(),
        help: row.help.to_owned(),
    };
    TABLE.iter().map(row).collect()
}

/// Turns a reading of the relay into metric families, row by row of the table.
struct Exporter {
    view: SharedView,
    descriptions: Vec<Desc>,
}

impl Exporter {
    fn new(view: SharedView) -> Self {
        let describe = |row: &Row| {
            let labels = row.labels.iter().map(|label| (*label).to_owned()).collect();
            Desc::new(row.name.to_owned(), row.help.to_owned(), labels, Default::default())
                .expect("the names of the table are valid")
        };
        Self { view, descriptions: TABLE.iter().map(describe).collect() }
    }
}

impl Collector for Exporter {
    fn desc(&self) -> Vec<&Desc> {
        self.descriptions.iter().collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let reading = Reading::take(&self.view);
        TABLE.iter().map(|row| family(row, &reading)).collect()
    }
}

fn family(row: &Row, reading: &Reading) -> MetricFamily {
    let metric = |(values, value): (Vec<&'static str>, f64)| {
        let mut metric = Metric::from_label(
            row.labels
                .iter()
                .zip(values)
                .map(|(name, value)| {
                    let mut pair = LabelPair::default();
                    pair.set_name((*name).to_owned());
                    pair.set_value(value.to_owned());
                    pair
                })
                .collect(),
        );
        match row.kind {
            Kind::Counter => {
                let mut counter = Counter::default();
                counter.set_value(value);
                metric.set_counter(counter);
            }
            Kind::Gauge | Kind::Histogram(_) => {
                let mut gauge = Gauge::default();
                gauge.set_value(value);
                metric.set_gauge(gauge);
            }
        }
        metric
    };
    let mut family = MetricFamily::default();
    family.set_name(row.name.to_owned());
    family.set_help(row.help.to_owned());
    family.set_field_type(match row.kind {
        Kind::Counter => MetricType::COUNTER,
        Kind::Gauge => MetricType::GAUGE,
        Kind::Histogram(_) => MetricType::HISTOGRAM,
    });
    family.set_metric(match row.kind {
        Kind::Histogram(distribution) => vec![histogram(distribution(reading))],
        Kind::Counter | Kind::Gauge => (row.samples)(reading).into_iter().map(metric).collect(),
    });
    family
}

fn histogram(distribution: &Distribution) -> Metric {
    let buckets = distribution.cumulative().map(|(bound, count)| {
        let mut bucket = Bucket::default();
        bucket.set_upper_bound(bound);
        bucket.set_cumulative_count(count);
        bucket
    });
    let mut histogram = Histogram::default();
    histogram.set_bucket(buckets.collect());
    histogram.set_sample_count(distribution.count());
    histogram.set_sample_sum(distribution.sum());
    let mut metric = Metric::default();
    metric.set_histogram(histogram);
    metric
}
