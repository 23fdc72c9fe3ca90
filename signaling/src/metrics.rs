//! What signaling counts. Labels are closed sets, and every combination starts at 0.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use prometheus::{
    Encoder as _, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec,
    Opts, Registry, TextEncoder,
    proto::{MetricFamily, MetricType},
};
use turnpike_relay_api::catalogue::MetricRow;

use crate::{
    contract::{ClientEvent, EndReason, ErrorCode},
    internal_socket::NoHeader,
};

/// The routes that are counted apart, with the methods that they serve. Each costs three series of the few hundred that a node
/// may have, so that only those are here whose figures somebody needs.
const APART: &[(&str, &[&str])] = &[("/v1/ice", &["GET", "POST"]), ("/turn", &["GET"]), (PAGE, &["GET"])];
/// Where there is no route.
pub(crate) const PAGE: &str = "page";
/// The other routes, and any other method, a preflight among them.
const OTHER: (&str, &str) = ("other", "other");
/// Routes whose time to answer is told apart: the one that mints.
const TIMED: &[&str] = &["/v1/ice", OTHER.0];
const CODES: &[&str] = &["2xx", "4xx", "5xx"];
/// The page's own: what the browser has already.
const NOT_MODIFIED: &str = "3xx";
const PATHS: &[&str] = &["direct", "relay_one_side", "relay_both", "failed", "unknown"];
/// What goes out follows from what came in, or has a metric of its own.
pub(crate) const OUT: &[&str] = &["any", "out"];
const DIALECTS: &[&str] = &["pair", "refresh", "rest", "anonymous", "draft"];
const RESULTS: &[&str] = &["minted", "unavailable"];
/// They can be refused: those of a pair go with it.
const REFUSED: &[[&str; 2]] = &[["rest", "refused"], ["anonymous", "refused"], ["draft", "refused"]];
const REVOKED: &[[&str; 2]] = &[
    ["pair", "revoked"],
    ["pair", "retried"],
    ["pair", "expired"],
    ["pair", "refused"],
    ["pair", "dropped"],
    ["rest", "revoked"],
    ["rest", "refused"],
];
const RESUMES: &[&str] = &["resumed", "unknown", "gap"];
const SIGNALS: &[&str] = &["description", "candidates", "end", "chat"];
const SLOW: &[&str] = &["slow_client"];
/// A hidden address leaves nothing of them.
const HIDDEN: &[[&str; 2]] = &[["candidates", "hidden"]];
const OUTCOMES: &[&str] = &["found", "left"];
const MODES: &[&str] = &["video", "text"];
/// What can fail on the way to Redis.
const REDIS: &[&str] = &["connect", "command", "read"];
const SCOPES: &[&str] = &["local", "across"];

/// The metrics of one signaling service.
pub(crate) struct Metrics {
    registry: Registry,
    /// Of a node that shares a Redis with others; elsewhere its series would say nothing.
    redis: Registry,
    shares: AtomicBool,
    pub(crate) sockets: IntGaugeVec,
    pub(crate) socket_events: IntCounterVec,
    pub(crate) socket_event_errors: IntCounterVec,
    pub(crate) queue_waiting: IntGaugeVec,
    pub(crate) queue_wait: HistogramVec,
    pub(crate) pairs: IntGauge,
    pub(crate) pairs_created: IntCounterVec,
    pub(crate) pairs_ended: IntCounterVec,
    pub(crate) pair_duration: Histogram,
    pub(crate) pair_path: IntCounterVec,
    pub(crate) credentials_minted: IntCounterVec,
    pub(crate) credentials_revoked: IntCounterVec,
    pub(crate) messages_relayed: IntCounterVec,
    pub(crate) messages_dropped: IntCounterVec,
    pub(crate) resumes: IntCounterVec,
    pub(crate) http_requests: IntCounterVec,
    pub(crate) http_request_seconds: HistogramVec,
    pub(crate) internal_refused: IntCounterVec,
    pub(crate) redis_up: IntGauge,
    pub(crate) redis_command_seconds: Histogram,
    pub(crate) redis_errors: IntCounterVec,
    pub(crate) reports: IntCounter,
    pub(crate) bans: IntGauge,
    pub(crate) moderation_dropped: IntCounter,
}

impl Metrics {
    pub(crate) fn new() -> Self {
        let make = Maker { registry: Registry::new() };
        let redis = Maker { registry: Registry::new() };
        let inbound: Vec<&str> = ClientEvent::NAMES.iter().copied().chain(["unknown"]).collect();
        let errors: Vec<String> = ErrorCode::ALL.iter().map(ToString::to_string).collect();
        let errors: Vec<&str> = errors.iter().map(String::as_str).collect();
        let reasons: Vec<&str> = EndReason::ALL.iter().map(|reason| reason.name()).collect();
        let waits = vec![1.0, 5.0, 15.0, 30.0, 120.0];
        let durations = vec![10.0, 60.0, 300.0, 1800.0, 7200.0];
        let seconds = vec![0.005, 0.05, 0.5];

        let socket_events = make.counters(
            "socket_events_total",
            "Socket.IO events; those that went out together.",
            &["event", "direction"],
        );
        for event in inbound {
            socket_events.with_label_values(&[event, "in"]);
        }
        socket_events.with_label_values(OUT);
        let sockets = make.gauges("sockets", "Open sockets.", &["transport"]);
        ["websocket", "polling"].iter().for_each(|transport| sockets.with_label_values(&[transport]).set(0));
        let queue_waiting = make.gauges(
            "queue_waiting",
            "Sessions that wait for a partner, by what they came for.",
            &["mode"],
        );
        MODES.iter().for_each(|mode| queue_waiting.with_label_values(&[mode]).set(0));
        let credentials_minted = make.zeroed(
            "credentials_minted_total",
            "TURN credentials asked for.",
            &[("dialect", DIALECTS), ("result", RESULTS)],
        );
        REFUSED.iter().for_each(|values| credentials_minted.with_label_values(values).reset());
        let messages_dropped = make.zeroed(
            "messages_dropped_total",
            "Signals and lines of chat not passed on: with a hidden address there was nothing left, or a client read too slowly \
             and was cut off.",
            &[("kind", SIGNALS), ("reason", SLOW)],
        );
        HIDDEN.iter().for_each(|values| messages_dropped.with_label_values(values).reset());
        let revision = option_env!("TURNPIKE_REVISION").unwrap_or("unknown");
        make.gauges("build_info", "What runs; always 1.", &["version", "revision", "component"])
            .with_label_values(&[env!("CARGO_PKG_VERSION"), revision, "signaling"])
            .set(1);

        Self {
            sockets,
            socket_events,
            socket_event_errors: make.zeroed(
                "socket_event_errors_total",
                "Events and connections that were refused.",
                &[("reason", &errors)],
            ),
            queue_waiting,
            queue_wait: make.histograms(
                "queue_wait_seconds",
                "Time from the first join to an offer, or to the end of the wait: by leaving, or by a lost socket.",
                "outcome",
                OUTCOMES,
                waits,
            ),
            pairs: make.gauge("pairs", "Pairs that both sides have accepted."),
            pairs_created: make.zeroed("pairs_created_total", "Pairs that were offered.", &[("scope", SCOPES)]),
            pairs_ended: make.zeroed("pairs_ended_total", "Pairs that ended, offers included.", &[("reason", &reasons)]),
            pair_duration: make.histogram(
                "pair_duration_seconds",
                "Time from the start of a pair to its end.",
                durations,
            ),
            pair_path: make.zeroed(
                "pair_path_total",
                "Ended pairs by how their media travelled, as the clients said.",
                &[("path", PATHS)],
            ),
            credentials_minted,
            credentials_revoked: make.listed(
                "credentials_revoked_total",
                "Ended pairs, and credentials that were revoked over REST, that the relay was told of: done; it did not answer and is told again; it did not until \
                 the credentials had expired; it refused; or too many waited.",
                ["dialect", "result"],
                REVOKED,
            ),
            messages_relayed: make.zeroed("messages_relayed_total", "Signals and lines of chat passed on.", &[("kind", SIGNALS)]),
            messages_dropped,
            resumes: make.zeroed(
                "resumes_total",
                "Sockets that named a session to go on with: done; it is not known, or no longer; or more was missed \
                 than is kept.",
                &[("result", RESUMES)],
            ),
            http_requests: make.requests(
                "http_requests_total",
                "HTTP requests; other is every route and method but those told apart.",
            ),
            http_request_seconds: make.histograms(
                "http_request_seconds",
                "Time to answer an HTTP request; other is every route but those told apart.",
                "route",
                TIMED,
                seconds,
            ),
            internal_refused: make.zeroed(
                "internal_connections_refused_total",
                "Connections to the internal socket that brought no PROXY header, as those of the relay do.",
                &[("reason", &NoHeader::REASONS)],
            ),
            redis_up: redis.gauge("redis_up", "Redis answers, where nodes share one."),
            redis_command_seconds: redis.histogram(
                "redis_command_seconds",
                "Time until Redis has answered, by commands that go together.",
                vec![0.001, 0.005, 0.02, 0.1, 0.5],
            ),
            redis_errors: redis.zeroed(
                "redis_errors_total",
                "Times that the way to Redis was lost: not connected, a command not answered, nothing read.",
                &[("kind", REDIS)],
            ),
            reports: make.register(IntCounter::with_opts(opts(
                "reports_total",
                "Reports of strangers about their partners.",
            ))),
            bans: make.gauge("bans", "Bans in force."),
            moderation_dropped: make.register(IntCounter::with_opts(opts(
                "moderation_dropped_total",
                "Reports, blocks and bans that could not be kept: too many waited, or the state folder cannot be written.",
            ))),
            registry: make.registry,
            redis: redis.registry,
            shares: AtomicBool::new(false),
        }
    }

    /// Every metric of signaling.
    pub(crate) fn catalogue(&self) -> Vec<MetricRow> {
        let row = |family: &MetricFamily| MetricRow {
            component: "signaling",
            name: family.name().to_owned(),
            kind: match family.get_field_type() {
                MetricType::COUNTER => "counter",
                MetricType::HISTOGRAM => "histogram",
                _ => "gauge",
            },
            labels: family
                .get_metric()
                .first()
                .map(|metric| metric.get_label().iter().map(|label| label.name().to_owned()).collect())
                .unwrap_or_default(),
            help: family.help().to_owned(),
        };
        self.registry.gather().iter().chain(&self.redis.gather()).map(row).collect()
    }

    /// This node shares a Redis.
    pub(crate) fn share(&self) {
        self.shares.store(true, Ordering::Relaxed);
    }

    /// The text that Prometheus reads.
    pub(crate) fn render(&self) -> Vec<u8> {
        let mut text = Vec::new();
        let mut families = self.registry.gather();
        if self.shares.load(Ordering::Relaxed) {
            families.append(&mut self.redis.gather());
        }
        TextEncoder::new().encode(&families, &mut text).expect("a vector takes any text");
        text
    }

    pub(crate) fn answered(&self, route: &str, method: &str, status: u16, took: Duration) {
        // A HEAD is a GET without its body (RFC 9110 §9.3.2).
        let method = if method == "HEAD" { "GET" } else { method };
        let is_apart = |(known, methods): &&(&str, &[&str])| *known == route && methods.contains(&method);
        let (route, method) = if APART.iter().any(|own| is_apart(&own)) { (route, method) } else { OTHER };
        let code = match status {
            300..400 if route == PAGE => NOT_MODIFIED,
            ..400 => "2xx",
            400..500 => "4xx",
            _ => "5xx",
        };
        self.http_requests.with_label_values(&[route, method, code]).inc();
        let timed = if TIMED.contains(&route) { route } else { OTHER.0 };
        self.http_request_seconds.with_label_values(&[timed]).observe(took.as_secs_f64());
    }
}

/// Registers each metric under the common prefix.
struct Maker {
    registry: Registry,
}

impl Maker {
    fn counters(&self, name: &str, help: &str, labels: &[&str]) -> IntCounterVec {
        self.register(IntCounterVec::new(opts(name, help), labels))
    }

    fn zeroed(&self, name: &str, help: &str, labels: &[(&str, &[&str])]) -> IntCounterVec {
        let names: Vec<&str> = labels.iter().map(|(name, _)| *name).collect();
        let counters = self.counters(name, help, &names);
        let mut combinations: Vec<Vec<&str>> = vec![Vec::new()];
        for (_, values) in labels {
            combinations = combinations
                .iter()
                .flat_map(|chosen| values.iter().map(|value| [chosen.as_slice(), &[*value]].concat()))
                .collect();
        }
        combinations.iter().for_each(|values| counters.with_label_values(values).reset());
        counters
    }

    /// Of combinations that are listed one by one.
    fn listed(&self, name: &str, help: &str, labels: [&str; 2], all: &[[&str; 2]]) -> IntCounterVec {
        let counters = self.counters(name, help, &labels);
        all.iter().for_each(|values| counters.with_label_values(values).reset());
        counters
    }

    /// By the methods that each route serves.
    fn requests(&self, name: &str, help: &str) -> IntCounterVec {
        let counters = self.counters(name, help, &["route", "method", "code"]);
        let served =
            APART.iter().flat_map(|(route, methods)| methods.iter().map(move |method| (*route, *method)));
        for (route, method) in served.chain([OTHER]) {
            for code in CODES {
                counters.with_label_values(&[route, method, code]).reset();
            }
        }
        counters.with_label_values(&[PAGE, "GET", NOT_MODIFIED]).reset();
        counters
    }

    fn gauges(&self, name: &str, help: &str, labels: &[&str]) -> IntGaugeVec {
        self.register(IntGaugeVec::new(opts(name, help), labels))
    }

    fn gauge(&self, name: &str, help: &str) -> IntGauge {
        self.register(IntGauge::with_opts(opts(name, help)))
    }

    fn histogram(&self, name: &str, help: &str, buckets: Vec<f64>) -> Histogram {
        self.register(Histogram::with_opts(HistogramOpts::from(opts(name, help)).buckets(buckets)))
    }

    fn histograms(
        &self,
        name: &str,
        help: &str,
        label: &str,
        values: &[&str],
        buckets: Vec<f64>,
    ) -> HistogramVec {
        let opts = HistogramOpts::from(opts(name, help)).buckets(buckets);
        let histograms = self.register(HistogramVec::new(opts, &[label]));
        for value in values {
            histograms.with_label_values(&[value]);
        }
        histograms
    }

    fn register<M: prometheus::core::Collector + Clone + 'static>(&self, made: prometheus::Result<M>) -> M {
        let metric = made.expect("names and labels of metrics are well-formed");
        self.registry.register(Box::new(metric.clone())).expect("each metric has a name of its own");
        metric
    }
}

fn opts(name: &str, help: &str) -> Opts {
    Opts::new(name, help).namespace("turnpike")
}
