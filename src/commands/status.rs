use std::{net::SocketAddr, thread, time::Duration};

use clap::Args;
use turnpike_relay_api::admin::{CertificateStatus, STATUS, Status};

use super::ConfigFile;
use crate::{quantity, relay_admin::RelayAdmin, screen::Screen};

/// Show what the relay is doing.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    config: ConfigFile,
    /// Again every second, until Ctrl-C
    #[arg(long, conflicts_with = "json")]
    watch: bool,
    /// As one JSON object
    #[arg(long)]
    json: bool,
}

/// # Errors
/// When the relay does not answer.
pub(crate) fn execute(arguments: &Arguments) -> anyhow::Result<()> {
    let relay = RelayAdmin::of(&arguments.config)?;
    if arguments.json {
        return Ok(Screen::stdout().line(relay.text(STATUS)?.trim_end())?);
    }
    loop {
        let status = relay.get(STATUS)?;
        let mut screen = Screen::stdout();
        if arguments.watch {
            screen.clear()?;
        }
        print(&mut screen, &status)?;
        if !arguments.watch {
            return Ok(());
        }
        drop(screen);
        thread::sleep(Duration::from_secs(1));
    }
}

fn certificate_line(certificate: &CertificateStatus) -> String {
    let until = certificate
        .not_after
        .map_or("none yet".to_owned(), |until| format!("until {}", quantity::moment(until)));
    match &certificate.acme {
        None => until,
        Some(acme) => {
            let next = quantity::moment(acme.next_attempt);
            match &acme.last_error {
                Some(error) => format!("{until}; ACME fails: {error}; tried again {next}"),
                None => format!("{until}, renewed {next}"),
            }
        }
    }
}

fn print(screen: &mut Screen, status: &Status) -> anyhow::Result<()> {
    let state = if status.draining { "draining: new allocations are refused" } else { "serving" };
    screen.heading(&format!("{}: {state}", status.node))?;
    screen.pair("Version", &format!("{}, up {}", status.version, quantity::span(status.uptime_seconds)))?;
    let advertised = [&status.advertised_ipv4, &status.advertised_ipv6].into_iter().filter(|a| !a.is_empty());
    screen.pair("Relays from", &advertised.cloned().collect::<Vec<_>>().join(", "))?;
    for (name, listeners) in
        [("UDP", &status.listen_udp), ("TCP", &status.listen_tcp), ("TLS", &status.listen_tls)]
    {
        if !listeners.is_empty() {
            screen.pair(name, &listeners.iter().map(SocketAddr::to_string).collect::<Vec<_>>().join(", "))?;
        }
    }
    screen.pair(
        "Allocations",
        &format!(
            "{} live of at most {}, {} made since the start",
            status.allocations, status.allocations_limit, status.allocations_created
        ),
    )?;
    if let Some(spent) = &status.budget {
        let percent = (spent.ratio * 100.0).floor();
        screen.pair("Budget", &format!("{percent:.0} % spent: {} (`turnpike budget`)", spent.step.name()))?;
    }
    if let Some(certificate) = &status.certificate {
        screen.pair("Certificate", &certificate_line(certificate))?;
    }
    for waiting in &status.waiting_for_restart {
        screen.pair("Restart", &format!("{waiting}: taken at the next start"))?;
    }
    let traffic = &status.traffic;
    let leg = |into: u64, out: u64| format!("{} in, {} out", quantity::bytes(into), quantity::bytes(out));
    screen.pair("Clients", &leg(traffic.client_in.bytes, traffic.client_out.bytes))?;
    screen.pair("Peers", &leg(traffic.peer_in.bytes, traffic.peer_out.bytes))?;
    screen.pair(
        "Within",
        &format!("{} from allocation to allocation", quantity::bytes(traffic.hairpin.bytes)),
    )?;
    Ok(())
}
