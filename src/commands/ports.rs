use std::net::SocketAddr;

use clap::{Args, ValueEnum};
use serde::Serialize;
use turnpike_config::{Config, MissingSecret};

use super::ConfigFile;
use crate::{
    screen::Screen,
    table::{Side, Table},
};

/// Print what a firewall has to let in, each with its reason.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    config: ConfigFile,
    /// How to print it
    #[arg(long, value_enum, default_value_t = Format::Table)]
    format: Format,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Format {
    /// For a person
    Table,
    /// Commands for ufw
    Ufw,
    /// Rules for a chain of nftables
    Nft,
    /// One JSON array
    Json,
}

/// A port, or a range of them, that strangers must reach.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Opening {
    protocol: &'static str,
    first: u16,
    last: u16,
    reason: &'static str,
}

/// # Errors
/// What is wrong with the configuration.
pub(crate) fn execute(arguments: &Arguments) -> anyhow::Result<()> {
    let config = arguments.config.load(MissingSecret::StandIn, false)?.config;
    let openings = openings(&config);
    let lines = match arguments.format {
        Format::Table => table(&openings),
        Format::Ufw => openings.iter().map(ufw).collect(),
        Format::Nft => openings.iter().map(nft).collect(),
        Format::Json => vec![serde_json::to_string_pretty(&openings)?],
    };
    let mut screen = Screen::stdout();
    for line in lines {
        screen.line(&line)?;
    }
    Ok(())
}

/// What listens on loopback alone is not among them.
pub(crate) fn openings(config: &Config) -> Vec<Opening> {
    let mut openings = Vec::new();
    let mut add = |protocol, (first, last), reason| {
        let opening = Opening { protocol, first, last, reason };
        if !openings.contains(&opening) {
            openings.push(opening);
        }
    };
    let open = |listeners: &[SocketAddr]| -> Vec<u16> {
        listeners.iter().filter(|listener| !listener.ip().is_loopback()).map(SocketAddr::port).collect()
    };
    for port in open(&config.relay.listen_udp) {
        add("udp", (port, port), "STUN and TURN");
    }
    for port in open(&config.relay.listen_tcp) {
        add("tcp", (port, port), "STUN and TURN where UDP is blocked");
    }
    for port in config.tls.iter().flat_map(|tls| open(&tls.listen)) {
        add("tcp", (port, port), "TURN over TLS, and the page over HTTPS");
    }
    let acme = config.tls.as_ref().and_then(|tls| tls.acme.as_ref());
    for port in acme.iter().flat_map(|acme| open(&acme.http_listen)) {
        add("tcp", (port, port), "the certificate authority's question, and the way to HTTPS");
    }
    for port in open(&config.signaling.listen) {
        add("tcp", (port, port), "the page and signaling over plain HTTP");
    }
    add("udp", config.relay.port_range, "relayed media");
    for (listener, reason) in [
        (config.metrics.relay_listen, "metrics of the relay"),
        (config.metrics.signaling_listen, "metrics of signaling"),
    ] {
        for port in open(listener.as_slice()) {
            add("tcp", (port, port), reason);
        }
    }
    openings
}

pub(crate) fn table(openings: &[Opening]) -> Vec<String> {
    let mut table = Table::new(&[("Port", Side::Left), ("What for", Side::Left)]);
    for opening in openings {
        table.row(vec![format!("{}/{}", opening.range('-'), opening.protocol), opening.reason.to_owned()]);
    }
    table.lines()
}

fn ufw(opening: &Opening) -> String {
    format!("ufw allow {}/{} comment 'turnpike: {}'", opening.range(':'), opening.protocol, opening.reason)
}

fn nft(opening: &Opening) -> String {
    format!(
        "{} dport {} accept comment \"turnpike: {}\"",
        opening.protocol,
        opening.range('-'),
        opening.reason
    )
}

impl Opening {
    fn range(&self, to: char) -> String {
        match self.first == self.last {
            true => self.first.to_string(),
            false => format!("{}{to}{}", self.first, self.last),
        }
    }
}
