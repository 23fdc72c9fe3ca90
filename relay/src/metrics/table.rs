//! The table of the relay's metrics: name, type, help, labels, and where each value comes from. Every combination of
//! label values is there from the start.

use turnpike_proto::{ByFamily, Cause, DropReason, ErrorCode, Family, Label, Tally, Transport};
use turnpike_relay_api::{
    admin::{Flow, Traffic},
    cost::{Cost, Priced, Spent},
    usage::flows as flows_of,
};

use super::{distribution::Distribution, host};
use crate::{
    front_door::{FrontDoor, Outcome},
    io::Together,
    ledger::{self, Status},
    self_test::Tried,
    shared::PortCount,
    snapshot::Snapshot,
    tls::Tls,
    view::{VERSION, View},
};

/// The type of a metric.
#[derive(Clone, Copy)]
pub(crate) enum Kind {
    Counter,
    Gauge,
    /// It has no labels, and no samples but these.
    Histogram(fn(&Reading) -> &Distribution),
}

impl Kind {
    /// As Prometheus has it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram(_) => "histogram",
        }
    }
}

/// The values of a row's labels, in their order, and the value.
pub(crate) type Sample = (Vec<&'static str>, f64);

/// One metric.
pub(crate) struct Row {
    pub(crate) name: &'static str,
    pub(crate) kind: Kind,
    pub(crate) help: &'static str,
    pub(crate) labels: &'static [&'static str],
    pub(crate) samples: fn(&Reading) -> Vec<Sample>,
}

/// What one scrape reads.
pub(crate) struct Reading {
    total: Snapshot,
    allocations_limit: usize,
    ports: ByFamily<PortCount>,
    revocations: usize,
    revocations_dropped: u64,
    draining: bool,
    tls: Option<TlsReading>,
    /// Whether the last reload succeeded, of the configuration and of the certificate, and when one last did.
    reload: (bool, u64),
    front_door: Option<FrontDoor>,
    ledger: ledger::Reading,
    written: [u64; 3],
    lost: [u64; 3],
    last_write: u64,
    devices: Vec<(&'static str, u64, u64)>,
    receive_drops: u64,
    cost: Cost,
    vendors: Vec<&'static str>,
    spent: Option<Spent>,
    tried: Vec<(Transport, Tried)>,
}

struct TlsReading {
    not_after: Option<u64>,
    acme_failures: u32,
}

/// The only way of a datagram through this relay: through its process.
const USER: &str = "user";

/// Limits by rate, and why a datagram above one is dropped.
const RATE_LIMITS: [(&str, &[DropReason]); 3] = [
    ("unauthenticated", &[DropReason::UnauthenticatedRate]),
    ("binding", &[DropReason::BindingRate]),
    (
        "bitrate",
        &[
            DropReason::AllocationBitrate,
            DropReason::CredentialBitrate,
            DropReason::SubjectBitrate,
            DropReason::TotalBitrate,
        ],
    ),
];

/// What an Allocate with good credentials can be refused with.
const ALLOCATE_CODES: [ErrorCode; 8] = [
    ErrorCode::TryAlternate,
    ErrorCode::BadRequest,
    ErrorCode::Forbidden,
    ErrorCode::AllocationMismatch,
    ErrorCode::AddressFamilyNotSupported,
    ErrorCode::UnsupportedTransport,
    ErrorCode::AllocationQuotaReached,
    ErrorCode::InsufficientCapacity,
];

pub(crate) static TABLE: &[Row] = &[
    Row {
        name: "turnpike_build_info",
        kind: Kind::Gauge,
        help: "Always 1; version and source revision of the program.",
        labels: &["version", "revision", "component"],
        samples: |_| {
            let revision = option_env!("TURNPIKE_REVISION").unwrap_or("unknown");
            vec![(vec![VERSION, revision, "relay"], 1.0)]
        },
    },
    Row {
        name: "turnpike_relay_bytes_total",
        kind: Kind::Counter,
        help: "IP-layer bytes of allocations, by leg (client or peer) and direction as seen from the relay; hairpinned \
               ones included. Peers are always reached over udp.",
        labels: &["leg", "direction", "transport", "family", "datapath"],
        samples: bytes,
    },
    Row {
        name: "turnpike_relay_packets_total",
        kind: Kind::Counter,
        help: "Packets of allocations, datagrams or TCP segments, by leg (client or peer) and direction as seen from the \
               relay; hairpinned ones included. Peers are always reached over udp.",
        labels: &["leg", "direction", "transport", "datapath"],
        samples: packets,
    },
    Row {
        name: "turnpike_relay_hairpin_bytes_total",
        kind: Kind::Counter,
        help: "IP-layer bytes from allocation to allocation that never left this process; part of the peer leg's out.",
        labels: &[],
        samples: |reading| one(reading.total.total_traffic().hairpin.bytes),
    },
    Row {
        name: "turnpike_unallocated_bytes_total",
        kind: Kind::Counter,
        help: "IP-layer bytes on the listeners that belong to no allocation: Binding, first Allocate, refusals; https is \
               what went to signaling and back.",
        labels: &["kind", "direction"],
        samples: |reading| {
            let counters = &reading.total.counters;
            let mut samples = vec![
                (vec!["stun", "in"], counters.unallocated_in.bytes as f64),
                (vec!["stun", "out"], counters.unallocated_out.bytes as f64),
            ];
            if let Some((received, sent)) = reading.front_door.as_ref().map(|door| door.ledger().bytes()) {
                samples.push((vec!["https", "in"], received as f64));
                samples.push((vec!["https", "out"], sent as f64));
            }
            samples
        },
    },
    Row {
        name: "turnpike_relay_dropped_packets_total",
        kind: Kind::Counter,
        help: "Datagrams and messages that went nowhere.",
        labels: &["reason"],
        samples: |reading| tally(&reading.total.counters.dropped),
    },
    Row {
        name: "turnpike_relay_segments_total",
        kind: Kind::Counter,
        help: "UDP datagrams that came (UDP_GRO) or left (UDP_SEGMENT) in one buffer with others of their length; part of \
               the packets.",
        labels: &["direction"],
        samples: |reading| together(reading, |together| together.datagrams),
    },
    Row {
        name: "turnpike_relay_segmented_buffers_total",
        kind: Kind::Counter,
        help: "Buffers of more than one UDP datagram that came from or went to the kernel.",
        labels: &["direction"],
        samples: |reading| together(reading, |together| together.buffers),
    },
    Row {
        name: "turnpike_relay_segmentation_refused_total",
        kind: Kind::Counter,
        help: "Buffers of more than one UDP datagram that the kernel did not take, whose datagrams were sent one by one; \
               their destination is left out for a minute.",
        labels: &[],
        samples: |reading| one(reading.total.refused_runs),
    },
    Row {
        name: "turnpike_allocations",
        kind: Kind::Gauge,
        help: "Live allocations, by transport and family of the client.",
        labels: &["transport", "family"],
        samples: |reading| {
            let of = |(transport, family, count): (Transport, Family, &u64)| {
                (vec![transport.name(), family.name()], *count as f64)
            };
            reading.total.allocations.iter().map(of).collect()
        },
    },
    Row {
        name: "turnpike_allocations_limit",
        kind: Kind::Gauge,
        help: "Most live allocations.",
        labels: &[],
        samples: |reading| one(reading.allocations_limit as u64),
    },
    Row {
        name: "turnpike_relay_ports_in_use",
        kind: Kind::Gauge,
        help: "Relay ports that are bound, those held for a reservation included.",
        labels: &["family"],
        samples: |reading| ports(reading, |ports| ports.in_use),
    },
    Row {
        name: "turnpike_relay_ports_limit",
        kind: Kind::Gauge,
        help: "Relay ports of the range; 0 of a family that is not relayed.",
        labels: &["family"],
        samples: |reading| ports(reading, |ports| ports.limit),
    },
    Row {
        name: "turnpike_permissions",
        kind: Kind::Gauge,
        help: "Live permissions.",
        labels: &[],
        samples: |reading| one(reading.total.permissions),
    },
    Row {
        name: "turnpike_channels",
        kind: Kind::Gauge,
        help: "Bound channels.",
        labels: &[],
        samples: |reading| one(reading.total.channels),
    },
    Row {
        name: "turnpike_allocations_created_total",
        kind: Kind::Counter,
        help: "Allocations made.",
        labels: &["transport"],
        samples: |reading| tally(&reading.total.counters.allocations_created),
    },
    Row {
        name: "turnpike_allocations_closed_total",
        kind: Kind::Counter,
        help: "Allocations ended, by cause and whether anything came from a peer or went to one.",
        labels: &["cause", "used"],
        samples: |reading| {
            let closed = ["false", "true"].into_iter().zip(&reading.total.ended.closed);
            let of = |(used, tally): (&'static str, &Tally<Cause>)| {
                tally
                    .iter()
                    .map(|(cause, count)| (vec![cause.name(), used], count as f64))
                    .collect::<Vec<_>>()
            };
            closed.flat_map(of).collect()
        },
    },
    Row {
        name: "turnpike_allocation_duration_seconds",
        kind: Kind::Histogram(|reading| &reading.total.ended.durations),
        help: "How long allocations that have ended lived.",
        labels: &[],
        samples: |_| Vec::new(),
    },
    Row {
        name: "turnpike_allocation_billed_bytes",
        kind: Kind::Histogram(|reading| &reading.total.ended.billed),
        help: "What of each allocation that has ended counts on a bill.",
        labels: &[],
        samples: |_| Vec::new(),
    },
    Row {
        name: "turnpike_allocation_setup_seconds",
        kind: Kind::Histogram(|reading| reading.total.setups.seconds()),
        help: "How long it took to make an allocation: from the turn that took the Allocate until its answer was ready.",
        labels: &[],
        samples: |_| Vec::new(),
    },
    Row {
        name: "turnpike_stun_requests_total",
        kind: Kind::Counter,
        help: "Requests that were answered, those of the self-test included; challenge: a client's first Allocate, which \
               brings no credentials and gets 401.",
        labels: &["method", "transport", "result"],
        samples: |reading| {
            let requests = reading.total.counters.requests.iter();
            requests
                .map(|(method, transport, result, count)| {
                    (vec![method.name(), transport.name(), result.name()], count as f64)
                })
                .collect()
        },
    },
    Row {
        name: "turnpike_socket_errors_total",
        kind: Kind::Counter,
        help: "Errors of the kernel when it was to receive, to send or to accept, beyond what networks do: a peer that \
               cannot be reached from here fails a send.",
        labels: &["call"],
        samples: |reading| tally(&reading.total.socket_errors),
    },
    Row {
        name: "turnpike_selftest_success",
        kind: Kind::Gauge,
        help: "1 when the last try of the relay to allocate and to relay to itself went through, over each transport that \
               it listens on; absent before the first one and where metrics.selftest is 0s.",
        labels: &["transport"],
        samples: |reading| {
            let value = |tried: &Tried| f64::from(u8::from(matches!(tried, Tried::Through(_))));
            reading.tried.iter().map(|(transport, tried)| (vec![transport.name()], value(tried))).collect()
        },
    },
    Row {
        name: "turnpike_selftest_round_trip_seconds",
        kind: Kind::Gauge,
        help: "How long the datagram of that try was under way, through the relay and back; absent where it failed.",
        labels: &["transport"],
        samples: |reading| {
            let took = |(transport, tried): &(Transport, Tried)| match tried {
                Tried::Through(took) => Some((vec![transport.name()], took.as_secs_f64())),
                Tried::Failed => None,
            };
            reading.tried.iter().filter_map(took).collect()
        },
    },
    Row {
        name: "turnpike_host_network_bytes_total",
        kind: Kind::Counter,
        help: "Bytes of the machine's network devices as the kernel counts them, everything else on it included; not of \
               loopback, bridges and containers.",
        labels: &["device", "direction"],
        samples: |reading| {
            let of = |(device, received, sent): &(&'static str, u64, u64)| {
                [(vec![*device, "in"], *received as f64), (vec![*device, "out"], *sent as f64)]
            };
            reading.devices.iter().flat_map(of).collect()
        },
    },
    Row {
        name: "turnpike_udp_receive_drops_total",
        kind: Kind::Counter,
        help: "Datagrams that the kernel dropped because a socket's receive buffer was full, of all of this machine.",
        labels: &[],
        samples: |reading| one(reading.receive_drops),
    },
    Row {
        name: "turnpike_allocation_failures_total",
        kind: Kind::Counter,
        help: "Allocate requests refused after authentication, by the error code of the answer.",
        labels: &["code"],
        samples: |reading| {
            let failures = &reading.total.counters.allocation_failures;
            ALLOCATE_CODES.map(|code| (vec![code.name()], failures.get(code) as f64)).into()
        },
    },
    Row {
        name: "turnpike_auth_failures_total",
        kind: Kind::Counter,
        help: "Requests that were not let in; the first one of a client, without credentials, is none.",
        labels: &["reason"],
        samples: |reading| tally(&reading.total.counters.auth_failures),
    },
    Row {
        name: "turnpike_peer_denied_total",
        kind: Kind::Counter,
        help: "Peers that clients asked for and may not reach.",
        labels: &["reason"],
        samples: |reading| tally(&reading.total.counters.peers_denied),
    },
    Row {
        name: "turnpike_rate_limited_total",
        kind: Kind::Counter,
        help: "What a limit of answers, of bits a second or of connections without an allocation left without an answer, \
               dropped or closed; datagrams are among the dropped ones as well.",
        labels: &["kind"],
        samples: |reading| {
            let dropped = &reading.total.counters.dropped;
            let sum = |reasons: &[DropReason]| reasons.iter().map(|reason| dropped.get(*reason)).sum::<u64>();
            let mut samples: Vec<Sample> =
                RATE_LIMITS.map(|(kind, reasons)| (vec![kind], sum(reasons) as f64)).into();
            samples.push((vec!["connections"], reading.total.refused_connections as f64));
            samples
        },
    },
    Row {
        name: "turnpike_client_connections",
        kind: Kind::Gauge,
        help: "Open connections of clients, with and without an allocation; https are those handed to signaling.",
        labels: &["transport"],
        samples: |reading| {
            let of = Transport::ALL.iter().zip(reading.total.connections);
            let streams = of.filter(|(transport, _)| transport.is_stream());
            let visitors = reading.front_door.iter().map(|door| (vec!["https"], door.visitors() as f64));
            streams.map(|(transport, count)| (vec![transport.name()], count as f64)).chain(visitors).collect()
        },
    },
    Row {
        name: "turnpike_revocations",
        kind: Kind::Gauge,
        help: "Revoked subjects, pairs and credentials that have not expired.",
        labels: &[],
        samples: |reading| one(reading.revocations as u64),
    },
    Row {
        name: "turnpike_revocations_dropped_total",
        kind: Kind::Counter,
        help: "Revocations that went before their time because the list was full.",
        labels: &[],
        samples: |reading| one(reading.revocations_dropped),
    },
    Row {
        name: "turnpike_https_connections_total",
        kind: Kind::Counter,
        help: "Connections over HTTPS, by how they ended or why they were not let in; absent where TLS is off.",
        labels: &["outcome"],
        samples: |reading| {
            let count = |door: &FrontDoor| {
                Outcome::ALL.map(|outcome| (vec![outcome.name()], door.ledger().count(outcome) as f64))
            };
            reading.front_door.iter().flat_map(count).collect()
        },
    },
    Row {
        name: "turnpike_tls_certificate_not_after_timestamp_seconds",
        kind: Kind::Gauge,
        help: "When the TLS certificate in use expires, in Unix time; absent where there is none.",
        labels: &[],
        samples: |reading| reading.tls.iter().filter_map(|tls| tls.not_after).flat_map(one).collect(),
    },
    Row {
        name: "turnpike_acme_failures",
        kind: Kind::Gauge,
        help: "Failed attempts in a row to get a TLS certificate by ACME; absent where TLS is off.",
        labels: &[],
        samples: |reading| reading.tls.iter().flat_map(|tls| one(u64::from(tls.acme_failures))).collect(),
    },
    Row {
        name: "turnpike_config_last_reload_success",
        kind: Kind::Gauge,
        help: "0 while the TLS certificate's files hold what cannot be used, else 1; absent where TLS is off.",
        labels: &[],
        samples: |reading| one(u64::from(reading.reload.0)),
    },
    Row {
        name: "turnpike_config_last_reload_timestamp_seconds",
        kind: Kind::Gauge,
        help: "When the TLS certificate in use was read, in Unix time; absent where TLS is off.",
        labels: &[],
        samples: |reading| one(reading.reload.1),
    },
    Row {
        name: "turnpike_tls_handshakes_total",
        kind: Kind::Counter,
        help: "TLS handshakes of clients, of TURN and of HTTPS; failed: by an error, or the client went away.",
        labels: &["result"],
        samples: |reading| tally(&reading.total.handshakes),
    },
    Row {
        name: "turnpike_usage_records_total",
        kind: Kind::Counter,
        help: "Records of the usage ledger that were written: start, interim and stop of allocations.",
        labels: &["status"],
        samples: |reading| by_status(|status| reading.written[status as usize]),
    },
    Row {
        name: "turnpike_usage_records_dropped_total",
        kind: Kind::Counter,
        help: "Records that were due and could not be written. A later interim record or the stop makes good for an \
               interim one.",
        labels: &["status"],
        samples: |reading| by_status(|status| reading.lost[status as usize]),
    },
    Row {
        name: "turnpike_usage_last_flush_timestamp_seconds",
        kind: Kind::Gauge,
        help: "When the usage ledger was last written, in Unix time; 0 while it never was.",
        labels: &[],
        samples: |reading| one(reading.last_write),
    },
    Row {
        name: "turnpike_relay_billed_bytes_total",
        kind: Kind::Counter,
        help: "Bytes of allocations that count on a bill, by tenant; without configured tenants all of them are other.",
        labels: &["tenant"],
        samples: |reading| {
            reading.ledger.tenants.iter().map(|(tenant, bytes)| (vec![*tenant], *bytes as f64)).collect()
        },
    },
    Row {
        name: "turnpike_billing_period_bytes",
        kind: Kind::Gauge,
        help: "IP-layer bytes of allocations in the billing period, over restarts; hairpin never left the machine and is \
               part of peer_out and peer_in.",
        labels: &["flow"],
        samples: |reading| {
            let flows = flows_of(&reading.cost.traffic);
            flows.map(|(name, flow)| (vec![name], flow.bytes as f64)).into()
        },
    },
    Row {
        name: "turnpike_billing_period_billed_bytes",
        kind: Kind::Gauge,
        help: "What of them is on the bill.",
        labels: &[],
        samples: |reading| one(reading.cost.billed_bytes),
    },
    Row {
        name: "turnpike_billing_period_projected_bytes",
        kind: Kind::Gauge,
        help: "What will be on the bill when the period ends, at the rate of the last seven days.",
        labels: &[],
        samples: |reading| one(reading.cost.projected_bytes),
    },
    Row {
        name: "turnpike_billing_period_cost",
        kind: Kind::Gauge,
        help: "What the billing period has cost, in the currency of the configuration; absent without a price.",
        labels: &["component"],
        samples: |reading| {
            let parts = |price: &Priced| [(vec!["base"], price.base), (vec!["traffic"], price.traffic)];
            reading.cost.price.iter().flat_map(parts).collect()
        },
    },
    Row {
        name: "turnpike_billing_period_projected_cost",
        kind: Kind::Gauge,
        help: "What the billing period will have cost when it ends; absent without a price.",
        labels: &[],
        samples: |reading| priced(reading, Priced::projected_total),
    },
    Row {
        name: "turnpike_cost_included_bytes",
        kind: Kind::Gauge,
        help: "Bytes on the bill that cost nothing more; absent without a price.",
        labels: &[],
        samples: |reading| priced(reading, |price| price.included_bytes as f64),
    },
    Row {
        name: "turnpike_cost_marginal_per_byte",
        kind: Kind::Gauge,
        help: "What the next byte costs, 0 inside the allowance; absent without a price.",
        labels: &[],
        samples: |reading| priced(reading, |price| price.byte.marginal),
    },
    Row {
        name: "turnpike_cost_blended_per_byte",
        kind: Kind::Gauge,
        help: "What a byte costs of what the period is projected to cost; absent without a price.",
        labels: &[],
        samples: |reading| priced(reading, |price| price.byte.blended),
    },
    Row {
        name: "turnpike_cost_comparison",
        kind: Kind::Gauge,
        help: "What the traffic of the billing period would have cost elsewhere; absent where nobody is compared with.",
        labels: &["vendor"],
        samples: |reading| {
            let cost = |vendor: &'static str| {
                let found = reading.cost.comparison.iter().find(|compared| compared.vendor == vendor);
                found.map(|compared| (vec![vendor], compared.cost))
            };
            reading.vendors.iter().filter_map(|vendor| cost(vendor)).collect()
        },
    },
    Row {
        name: "turnpike_budget_ratio",
        kind: Kind::Gauge,
        help: "The part of the budget that is spent; absent without a budget.",
        labels: &[],
        samples: |reading| reading.spent.iter().map(|spent| (Vec::new(), spent.ratio)).collect(),
    },
    Row {
        name: "turnpike_budget_step",
        kind: Kind::Gauge,
        help: "What holds because of the budget: 0 nothing, 1 warn, 2 degrade, 3 stop; absent without a budget.",
        labels: &[],
        samples: |reading| reading.spent.iter().flat_map(|spent| one(spent.step as u64)).collect(),
    },
    Row {
        name: "turnpike_draining",
        kind: Kind::Gauge,
        help: "1 while new allocations are refused and live ones served.",
        labels: &[],
        samples: |reading| one(u64::from(reading.draining)),
    },
];

impl Reading {
    pub(crate) fn take(view: &View) -> Self {
        let usage = &view.ledger.published;
        let shared = &view.node.shared;
        Self {
            total: view.snapshot(),
            allocations_limit: shared.limits.allocations,
            ports: shared.ports(),
            revocations: view.node.revocations.len(),
            revocations_dropped: view.node.revocations.forgotten(),
            draining: view.is_draining(),
            tls: view.node.tls.as_deref().map(TlsReading::of),
            reload: last_reload(view),
            front_door: view.node.front_door.clone(),
            ledger: usage.reading(),
            written: Status::ALL.map(|status| usage.written(status)),
            lost: Status::ALL.map(|status| usage.lost(status)),
            last_write: usage.last_write(),
            devices: view.devices.bytes(),
            receive_drops: host::receive_drops(),
            cost: view.ledger.cost(),
            vendors: view.ledger.vendors.clone(),
            spent: view.node.budget.spent(),
            tried: view.node.self_test.iter().flat_map(|self_test| self_test.tried()).collect(),
        }
    }
}

impl TlsReading {
    fn of(tls: &Tls) -> Self {
        Self { not_after: tls.not_after(), acme_failures: tls.acme_failures() }
    }
}

/// Of the configuration and of the certificate files.
fn last_reload(view: &View) -> (bool, u64) {
    let (success, at) = view.config_reload.get();
    match view.node.tls.as_deref().map(Tls::last_reload) {
        Some((of_tls, tls_at)) => (success && of_tls, at.max(tls_at)),
        None => (success, at),
    }
}

fn priced(reading: &Reading, value: impl Fn(&Priced) -> f64) -> Vec<Sample> {
    reading.cost.price.iter().map(|price| (Vec::new(), value(price))).collect()
}

fn by_status(value: impl Fn(Status) -> u64) -> Vec<Sample> {
    Status::ALL.map(|status| (vec![status.name()], value(status) as f64)).into()
}

fn one(value: u64) -> Vec<Sample> {
    vec![(Vec::new(), value as f64)]
}

fn together(reading: &Reading, value: fn(&Together) -> u64) -> Vec<Sample> {
    let both = [("in", &reading.total.together_in), ("out", &reading.total.together_out)];
    both.map(|(direction, together)| (vec![direction], value(together) as f64)).into()
}

fn tally<L: Label>(counts: &Tally<L>) -> Vec<Sample> {
    counts.iter().map(|(label, count)| (vec![label.name()], count as f64)).collect()
}

fn ports(reading: &Reading, value: fn(&PortCount) -> usize) -> Vec<Sample> {
    reading.ports.iter().map(|(family, ports)| (vec![family.name()], value(ports) as f64)).collect()
}

/// Both legs, each by its own transport and the family of its own addresses.
fn bytes(reading: &Reading) -> Vec<Sample> {
    let sample = |leg, direction, transport: Transport, family: Family, flow: &Flow| {
        (vec![leg, direction, transport.name(), family.name(), USER], flow.bytes as f64)
    };
    let mut samples = Vec::new();
    let mut peers = ByFamily::<Traffic>::default();
    for (transport, family, traffic) in reading.total.traffic.iter() {
        samples.push(sample("client", "in", transport, family, &traffic.client_in));
        samples.push(sample("client", "out", transport, family, &traffic.client_out));
        peers[family].add(traffic);
    }
    for (family, traffic) in peers.iter() {
        samples.push(sample("peer", "in", Transport::Udp, family, &traffic.peer_in));
        samples.push(sample("peer", "out", Transport::Udp, family, &traffic.peer_out));
    }
    samples
}

/// The same without the families, for bytes have them already.
fn packets(reading: &Reading) -> Vec<Sample> {
    let sample = |leg, direction, transport: Transport, flow: &Flow| {
        (vec![leg, direction, transport.name(), USER], flow.packets as f64)
    };
    let mut samples = Vec::new();
    for transport in Transport::ALL {
        let mut clients = Traffic::default();
        let own = reading.total.traffic.iter().filter(|(of, ..)| of == transport);
        own.for_each(|(.., traffic)| clients.add(traffic));
        samples.push(sample("client", "in", *transport, &clients.client_in));
        samples.push(sample("client", "out", *transport, &clients.client_out));
    }
    let all = reading.total.total_traffic();
    samples.push(sample("peer", "in", Transport::Udp, &all.peer_in));
    samples.push(sample("peer", "out", Transport::Udp, &all.peer_out));
    samples
}
