//! Usage as the ledger tells it over the admin API.

use serde::{Deserialize, Serialize};

use crate::admin::{Flow, Traffic};

/// `GET` with a [`UsageQuery`]: [`Usage`], or text as its `format` says.
pub const USAGE: &str = "/v1/usage";

/// What is asked for. Times are Unix seconds; what was open at some time in `from..to` is in it.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct UsageQuery {
    /// Not before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<u64>,
    /// Before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to: Option<u64>,
    /// Of this allocation.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub allocation: Option<String>,
    /// Of this subject, as it stands in a username or as the ledger shows it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// Of this pair of signaling.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pair: Option<String>,
    /// Of this tenant.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tenant: Option<String>,
    /// Only what is open, or only what has ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub open: Option<bool>,
    /// What a row is.
    pub by: By,
    /// Most rows; 1,000 by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
    /// The shape of the answer.
    pub format: Format,
}

/// What one row of an answer is.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum By {
    /// One allocation, the last to begin first.
    #[default]
    Allocation,
    /// All of a subject, the one with the most bytes first.
    Subject,
    /// All of a pair, likewise.
    Pair,
    /// All of a tenant, likewise.
    Tenant,
    /// All of a day in UTC, the last first; days are kept when the records of their allocations are gone.
    Day,
}

/// The shape of an answer.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// [`Usage`].
    #[default]
    Json,
    /// Comma-separated values with a line of names.
    Csv,
    /// CloudEvents 1.0, one JSON object a line; of allocations only.
    CloudEvents,
}

/// What the ledger holds.
#[derive(Debug, Default, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Usage {
    /// One an allocation, where that was asked for.
    pub records: Vec<Record>,
    /// Else one for each subject, pair, tenant or day.
    pub sums: Vec<Sum>,
    /// Over all that fits, also what is not listed.
    pub total: Sum,
    /// More fits than is listed.
    pub truncated: bool,
    /// What a billed byte costs, where there is a price.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub price: Option<BytePrice>,
}

/// What one billed byte costs.
#[derive(Debug, Default, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct BytePrice {
    /// Three letters.
    pub currency: String,
    /// Its part of what the whole period is projected to cost.
    pub blended: f64,
    /// What the next one adds: 0 while bytes are included.
    pub marginal: f64,
}

/// The record of one allocation, after RFC 2866. Counters are cumulative.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Record {
    /// Random id of the allocation.
    pub id: String,
    /// Goes up with every writing of this record.
    pub sequence: u64,
    /// Whose it is, as the privacy settings allow; empty for nobody's.
    pub subject: String,
    /// The pair of signaling that it belongs to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pair: Option<String>,
    /// A configured tenant, `other`, or empty where none is configured.
    pub tenant: String,
    /// Of the client leg: `udp`, `tcp`, `tls`.
    pub transport: String,
    /// Of the client leg: `ipv4`, `ipv6`.
    pub family: String,
    /// The client's address or network, as the privacy settings allow.
    pub client: String,
    /// When it began, in Unix seconds.
    pub started: u64,
    /// When its counters were last looked at and had changed.
    pub updated: u64,
    /// When it ended; absent while it is open.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ended: Option<u64>,
    /// How long it has lived, in seconds.
    pub seconds: u64,
    /// Why it ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cause: Option<String>,
    /// What flowed.
    pub traffic: Traffic,
    /// What of it counts on a bill.
    pub billed_bytes: u64,
}

impl Record {
    /// `start`, `interim` or `stop`.
    pub fn status(&self) -> &'static str {
        match (self.ended, self.sequence) {
            (Some(_), _) => "stop",
            (None, 0 | 1) => "start",
            (None, _) => "interim",
        }
    }
}

/// Many allocations together.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Sum {
    /// The subject, pair, tenant or day.
    pub name: String,
    /// How many allocations; of a day, those that began on it.
    pub allocations: u64,
    /// How long they lived together, in seconds; of a day, those that ended on it.
    pub seconds: u64,
    /// What flowed.
    pub traffic: Traffic,
    /// What of it counts on a bill.
    pub billed_bytes: u64,
}

/// How a provider counts.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Count {
    /// What leaves the machine.
    #[default]
    Egress,
    /// What leaves and what enters it.
    Both,
    /// The larger of the two.
    Max,
    /// What goes to clients, as providers of TURN count.
    #[serde(rename = "client_out")]
    ClientOut,
}

impl Count {
    /// What of this traffic counts. What never left the machine does not.
    pub fn bytes(self, traffic: &Traffic) -> u64 {
        let (out, into) = (egress(traffic), ingress(traffic));
        match self {
            Self::Egress => out,
            Self::Both => out + into,
            Self::Max => out.max(into),
            Self::ClientOut => traffic.client_out.bytes,
        }
    }
}

/// Bytes of the headers of IPv4 and UDP.
const HEADERS: u64 = 28;

/// What is on a bill.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Billing {
    /// Which way.
    pub count: Count,
    /// Whether the headers of IP and UDP are. Those that are longer, of IPv6 and TCP, always are by what they are longer.
    pub headers: bool,
}

impl Billing {
    /// What of this traffic is on the bill.
    pub fn bytes(self, traffic: &Traffic) -> u64 {
        match self.headers {
            true => self.count.bytes(traffic),
            false => self.count.bytes(&without_headers(traffic)),
        }
    }
}

fn without_headers(traffic: &Traffic) -> Traffic {
    let bare = |flow: Flow| Flow {
        bytes: flow.bytes.saturating_sub(HEADERS.saturating_mul(flow.packets)),
        packets: flow.packets,
    };
    let Traffic { client_in, client_out, peer_out, peer_in, hairpin } = *traffic;
    Traffic {
        client_in: bare(client_in),
        client_out: bare(client_out),
        peer_out: bare(peer_out),
        peer_in: bare(peer_in),
        hairpin: bare(hairpin),
    }
}

/// What left the machine.
pub fn egress(traffic: &Traffic) -> u64 {
    (traffic.client_out.bytes + traffic.peer_out.bytes).saturating_sub(traffic.hairpin.bytes)
}

/// What entered it.
pub fn ingress(traffic: &Traffic) -> u64 {
    (traffic.client_in.bytes + traffic.peer_in.bytes).saturating_sub(traffic.hairpin.bytes)
}

/// The five flows of an allocation with their names, in the order of every list of them.
pub fn flows(traffic: &Traffic) -> [(&'static str, Flow); 5] {
    [
        ("client_in", traffic.client_in),
        ("client_out", traffic.client_out),
        ("peer_in", traffic.peer_in),
        ("peer_out", traffic.peer_out),
        ("hairpin", traffic.hairpin),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_never_left_the_machine_is_on_no_bill() {
        let flow = |bytes| Flow { bytes, packets: 1 };
        let traffic = Traffic {
            client_in: flow(100),
            client_out: flow(70),
            peer_out: flow(90),
            peer_in: flow(60),
            hairpin: flow(40),
        };
        assert_eq!(Count::Egress.bytes(&traffic), 120);
        assert_eq!(Count::Both.bytes(&traffic), 240);
        assert_eq!(Count::Max.bytes(&traffic), 120);
        assert_eq!(Count::ClientOut.bytes(&traffic), 70);
        let bare = Billing { count: Count::Egress, headers: false };
        assert_eq!(bare.bytes(&traffic), 120 - 28, "of two packets that left, less one that did not");
        assert_eq!(Billing { headers: true, ..bare }.bytes(&traffic), 120);
        let only_in = Traffic { peer_in: flow(500), ..Traffic::default() };
        assert_eq!(
            [Count::Egress, Count::Both, Count::Max].map(|count| count.bytes(&only_in)),
            [0, 500, 500]
        );
    }
}
