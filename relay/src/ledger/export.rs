//! Usage as text: JSON, CSV, CloudEvents.

use serde::Serialize;
use time::{OffsetDateTime, format_description::well_known::Rfc3339};
use turnpike_relay_api::{
    admin::Traffic,
    usage::{Format, Record, Sum, Usage, flows},
};

/// An answer of the ledger.
pub(crate) struct Export {
    usage: Usage,
    node: String,
}

impl Export {
    pub(super) fn new(usage: Usage, node: String) -> Self {
        Self { usage, node }
    }

    /// Its media type and text.
    pub(crate) fn into_text(self, format: Format) -> (&'static str, String) {
        match format {
            Format::Json => ("application/json", json(&self.usage)),
            Format::Csv if self.usage.sums.is_empty() => ("text/csv", records_csv(&self.usage.records)),
            Format::Csv => ("text/csv", sums_csv(&self.usage.sums)),
            Format::CloudEvents => {
                let events = self.usage.records.iter().map(|record| json(&event(record, &self.node)) + "\n");
                ("application/x-ndjson", events.collect())
            }
        }
    }
}

fn json(value: &impl Serialize) -> String {
    serde_json::to_string(value).expect("usage is plain data")
}

/// An event of CloudEvents 1.0. Source and id together name one state of one record, so that one sent twice is known.
#[derive(Serialize)]
struct Event<'a> {
    specversion: &'static str,
    id: String,
    source: String,
    r#type: String,
    #[serde(skip_serializing_if = "str::is_empty")]
    subject: &'a str,
    time: String,
    datacontenttype: &'static str,
    data: &'a Record,
}

fn event<'a>(record: &'a Record, node: &str) -> Event<'a> {
    // A name of a node is one of DNS or of the operator's choice; a URI has no spaces.
    let node: String = node.chars().map(|c| if c.is_ascii_graphic() { c } else { '-' }).collect();
    Event {
        specversion: "1.0",
        id: format!("{}/{}", record.id, record.sequence),
        source: format!("/turnpike/{node}"),
        r#type: format!("turnpike.usage.{}", record.status()),
        subject: &record.subject,
        time: rfc3339(record.ended.unwrap_or(record.updated)),
        datacontenttype: "application/json",
        data: record,
    }
}

fn rfc3339(unix: u64) -> String {
    let time = OffsetDateTime::from_unix_timestamp(unix as i64).unwrap_or(OffsetDateTime::UNIX_EPOCH);
    time.format(&Rfc3339).expect("a time of four digits' years has this form")
}

fn records_csv(records: &[Record]) -> String {
    let names = [
        "id",
        "sequence",
        "status",
        "subject",
        "pair",
        "tenant",
        "transport",
        "family",
        "client",
        "started",
        "updated",
        "ended",
        "cause",
        "seconds",
    ];
    let rows = records.iter().map(|record| {
        let own = [
            record.id.clone(),
            record.sequence.to_string(),
            record.status().to_owned(),
            record.subject.clone(),
            record.pair.clone().unwrap_or_default(),
            record.tenant.clone(),
            record.transport.clone(),
            record.family.clone(),
            record.client.clone(),
            rfc3339(record.started),
            rfc3339(record.updated),
            record.ended.map(rfc3339).unwrap_or_default(),
            record.cause.clone().unwrap_or_default(),
            record.seconds.to_string(),
        ];
        (own, &record.traffic, record.billed_bytes)
    });
    table(names, rows)
}

fn sums_csv(sums: &[Sum]) -> String {
    let rows = sums.iter().map(|sum| {
        (
            [sum.name.clone(), sum.allocations.to_string(), sum.seconds.to_string()],
            &sum.traffic,
            sum.billed_bytes,
        )
    });
    table(["name", "allocations", "seconds"], rows)
}

fn table<'a, const N: usize>(
    names: [&str; N],
    rows: impl Iterator<Item = ([String; N], &'a Traffic, u64)>,
) -> String {
    let flow_names =
        flows(&Traffic::default()).map(|(name, _)| [format!("{name}_bytes"), format!("{name}_packets")]);
    let names = names.iter().map(|name| (*name).to_owned()).chain(flow_names.into_iter().flatten());
    let mut text = line(names.chain(["billed_bytes".to_owned()]));
    for (own, traffic, billed) in rows {
        let counters = flows(traffic).map(|(_, flow)| [flow.bytes.to_string(), flow.packets.to_string()]);
        text += &line(own.into_iter().chain(counters.into_iter().flatten()).chain([billed.to_string()]));
    }
    text
}

/// A line of RFC 4180.
fn line(fields: impl Iterator<Item = String>) -> String {
    let quoted = fields.map(|field| match field.contains(['"', ',', '\n', '\r']) {
        true => format!("\"{}\"", field.replace('"', "\"\"")),
        false => field,
    });
    quoted.collect::<Vec<_>>().join(",") + "\r\n"
}

#[cfg(test)]
mod tests {
    use turnpike_relay_api::admin::Flow;

    use super::*;

    fn usage() -> Usage {
        let record = Record {
            id: "AAAAAAAAAAAAAAAAAAAAAA".to_owned(),
            sequence: 3,
            subject: "a \"quoted\", name".to_owned(),
            transport: "udp".to_owned(),
            family: "ipv4".to_owned(),
            started: 1_764_115_200,
            updated: 1_764_115_260,
            ended: Some(1_764_115_261),
            seconds: 61,
            cause: Some("client".to_owned()),
            traffic: Traffic { client_in: Flow { bytes: 7, packets: 1 }, ..Traffic::default() },
            billed_bytes: 9,
            ..Record::default()
        };
        Usage { records: vec![record], ..Usage::default() }
    }

    #[test]
    fn a_record_is_a_line_of_csv() {
        let (kind, text) = Export::new(usage(), "n".to_owned()).into_text(Format::Csv);
        assert_eq!(kind, "text/csv");
        assert_eq!(
            text,
            "id,sequence,status,subject,pair,tenant,transport,family,client,started,updated,ended,cause,seconds,\
             client_in_bytes,client_in_packets,client_out_bytes,client_out_packets,peer_in_bytes,peer_in_packets,\
             peer_out_bytes,peer_out_packets,hairpin_bytes,hairpin_packets,billed_bytes\r\n\
             AAAAAAAAAAAAAAAAAAAAAA,3,stop,\"a \"\"quoted\"\", name\",,,udp,ipv4,,2025-11-26T00:00:00Z,\
             2025-11-26T00:01:00Z,2025-11-26T00:01:01Z,client,61,7,1,0,0,0,0,0,0,0,0,9\r\n"
        );
    }

    #[test]
    fn a_record_is_a_cloud_event_that_is_known_when_it_comes_again() {
        let (_, text) = Export::new(usage(), "node 1".to_owned()).into_text(Format::CloudEvents);
        let event: serde_json::Value = serde_json::from_str(text.trim_end()).unwrap();
        for (name, value) in [
            ("specversion", "1.0"),
            ("id", "AAAAAAAAAAAAAAAAAAAAAA/3"),
            ("source", "/turnpike/node-1"),
            ("type", "turnpike.usage.stop"),
            ("time", "2025-11-26T00:01:01Z"),
            ("datacontenttype", "application/json"),
        ] {
            assert_eq!(event[name], value, "{name}");
        }
        assert_eq!(event["data"]["traffic"]["client_in"]["bytes"], 7);
    }
}
