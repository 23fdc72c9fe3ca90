use std::{
    fmt::Display,
    io,
    net::{SocketAddr, TcpListener},
    os::unix::net::UnixStream,
};

use clap::Args;
use socket2::{Domain, Socket, Type};
use turnpike_config::{Config, Loaded, MissingSecret};

use super::ConfigFile;
use crate::{
    exit::Shown,
    screen::{Screen, Verdict},
};

/// Say what is wrong with the configuration.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    config: ConfigFile,
}

/// Nothing is made and nothing stays bound.
///
/// # Errors
/// What is wrong with the configuration; [`Shown`] when a port cannot be had.
pub(crate) fn execute(arguments: &Arguments) -> anyhow::Result<()> {
    let loaded = arguments.config.load(MissingSecret::StandIn, false)?;
    let mut screen = Screen::stdout();
    print_values(&mut screen, &loaded)?;
    let mut failed = !print_certificate(&mut screen, &loaded.config)?;
    for (about, outcome) in ports(&loaded.config) {
        let (verdict, found) = match outcome {
            Ok(found) => (Verdict::Ok, found),
            Err(found) => (Verdict::Fail, found),
        };
        failed |= verdict == Verdict::Fail;
        screen.verdict(verdict, about, &found)?;
    }
    match failed {
        true => Err(Shown.into()),
        false => Ok(()),
    }
}

fn print_values(screen: &mut Screen, loaded: &Loaded) -> io::Result<()> {
    let Config { node, auth, relay, signaling, ice, redis, .. } = &loaded.config;
    let file = loaded.file.as_ref().map(|file| file.display().to_string());
    let (first, last) = relay.port_range;
    let secrets = match auth.secrets.len() {
        1 => "one secret".to_owned(),
        count => format!("{count} secrets, the first signs"),
    };
    let bound = relay.relay_ipv4.iter().chain(&relay.relay_ipv6).map(|address| address.bound);
    let lines = [
        ("config", file.unwrap_or_else(|| "none, built-in defaults".to_owned())),
        ("node", node.name.clone()),
        ("address", joined(node.public_addresses(), ", ")),
        ("state", node.state_dir.display().to_string()),
        ("secret", format!("{}: {secrets}", loaded.secret_file.display())),
        ("relay", format!("ports {first}-{last} on {}, {} shards", joined(bound, " and "), relay.shards)),
        (
            "limits",
            format!("{} allocations, {} a subject", relay.max_allocations, relay.max_allocations_per_subject),
        ),
        ("signaling", format!("Socket.IO on {}", signaling.path)),
        (
            "redis",
            redis.as_ref().map_or_else(
                || "none: this node is alone".to_owned(),
                |redis| format!("{}, prefix {}", redis.place(), redis.prefix),
            ),
        ),
        ("ice", [ice.stun_urls.as_slice(), &ice.turn_urls].concat().join(" ")),
    ];
    for (about, found) in lines {
        screen.verdict(Verdict::Ok, about, &found)?;
    }
    for note in &loaded.notes {
        let verdict = if note.is_warning() { Verdict::Warn } else { Verdict::Ok };
        screen.verdict(verdict, "note", &note.to_string())?;
    }
    Ok(())
}

/// Whether TLS is off or its certificate is in order.
fn print_certificate(screen: &mut Screen, config: &Config) -> io::Result<bool> {
    let Some(tls) = &config.tls else { return Ok(true) };
    let checked = turnpike_relay::check_certificate(tls, config.node.domain.as_deref());
    let (verdict, found) = match &checked {
        Err(_) if tls.acme.is_some() && !tls.cert_file.exists() => {
            screen.verdict(Verdict::Ok, "tls", "there is no certificate yet: the relay gets one by ACME")?;
            return Ok(true);
        }
        Ok(certificate) if certificate.expires_soon() && tls.acme.is_none() => {
            (Verdict::Warn, format!("certificate {certificate}: renew it"))
        }
        Ok(certificate) => (Verdict::Ok, format!("certificate {certificate}")),
        Err(error) => (Verdict::Fail, error.to_string()),
    };
    screen.verdict(verdict, "tls", &found)?;
    Ok(checked.is_ok())
}

fn joined<T: Display>(items: impl Iterator<Item = T>, between: &str) -> String {
    items.map(|item| item.to_string()).collect::<Vec<_>>().join(between)
}

/// Tries every address, and lets go of it.
pub(crate) fn ports(config: &Config) -> Vec<(&'static str, Result<String, String>)> {
    let Config { relay, tls, signaling, metrics, .. } = config;
    let running = UnixStream::connect(&relay.admin_socket).is_ok();
    let tcp = |address: SocketAddr| TcpListener::bind(address).map(drop);
    let mut outcomes = Vec::new();
    let mut add = |about, key, transport, address: SocketAddr, bound: io::Result<()>| {
        let what = format!("{transport} {address}");
        let outcome = match bound {
            Err(error) if turnpike_relay::is_skipped(address, &error) => {
                Ok(format!("{what} is skipped: this host has no IPv6"))
            }
            bound => verdict(&what, key, bound, running),
        };
        outcomes.push((about, outcome));
    };
    for listener in &relay.listen_udp {
        add("turn", "relay.listen_udp", "UDP", *listener, one_family(*listener, Type::DGRAM));
    }
    for listener in &relay.listen_tcp {
        add("turn", "relay.listen_tcp", "TCP", *listener, one_family(*listener, Type::STREAM));
    }
    for listener in tls.iter().flat_map(|tls| &tls.listen) {
        add("tls", "tls.listen", "TCP", *listener, one_family(*listener, Type::STREAM));
    }
    let acme = tls.as_ref().and_then(|tls| tls.acme.as_ref());
    for listener in acme.iter().flat_map(|acme| &acme.http_listen) {
        add("acme", "tls.acme_http_listen", "TCP", *listener, one_family(*listener, Type::STREAM));
    }
    for (key, address) in [("relay.relay_ipv4", relay.relay_ipv4), ("relay.relay_ipv6", relay.relay_ipv6)] {
        if let Some(address) = address {
            let any_port = SocketAddr::new(address.bound, 0);
            add("relayed", key, "UDP", any_port, one_family(any_port, Type::DGRAM));
        }
    }
    for listener in &signaling.listen {
        add("http", "signaling.listen", "TCP", *listener, tcp(*listener));
    }
    for (key, listener) in [
        ("metrics.relay_listen", metrics.relay_listen),
        ("metrics.signaling_listen", metrics.signaling_listen),
    ] {
        if let Some(listener) = listener {
            add("metrics", key, "TCP", listener, tcp(listener));
        }
    }
    outcomes
}

/// Binds as the relay does: to one family.
fn one_family(address: SocketAddr, kind: Type) -> io::Result<()> {
    let socket = Socket::new(Domain::for_address(address), kind, None)?;
    if kind == Type::STREAM {
        socket.set_reuse_address(true)?;
    }
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.bind(&address.into())
}

/// What a trial bind says. A port that is taken is no failure while this very node runs.
fn verdict(what: &str, key: &str, bound: io::Result<()>, running: bool) -> Result<String, String> {
    match bound {
        Ok(()) => Ok(format!("{what} can be bound")),
        Err(error) if error.kind() == io::ErrorKind::AddrInUse && running => {
            Ok(format!("{what} is in use, and this node is running"))
        }
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
            Err(format!("{what} is in use: stop what `ss -lpn` shows there, or change `{key}`"))
        }
        Err(error) => Err(format!("{what} cannot be bound ({error}): change `{key}`")),
    }
}
