use std::{
    fmt::Write as _,
    fs::{self, File},
    io::Write as _,
    os::unix::fs::OpenOptionsExt as _,
    path::PathBuf,
    process::Command,
    time::{Duration, SystemTime},
};

use anyhow::Context as _;
use clap::Args;
use turnpike_config::{Host, Loaded, MissingSecret, Secret};
use turnpike_relay_api::{
    admin::STATUS,
    cost::{BUDGET, COST},
};

use super::{ConfigFile, config_show};
use crate::{
    doctor::{Group, Patient, examine},
    http, quantity,
    relay_admin::RelayAdmin,
    screen::Screen,
};

/// How long each service may take to tell its metrics.
const WITHIN: Duration = Duration::from_secs(5);
/// Lines of the log of each service.
const LOG_LINES: &str = "500";

/// Gather what somebody needs who helps with a problem, without any secret. It is text: read it before you give it away.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    config: ConfigFile,
    /// The last lines of the services' logs too: client addresses may be in them
    #[arg(long)]
    with_log: bool,
    /// Where it is written [default: turnpike-support-DATE.txt here; - for standard output]
    #[arg(value_name = "FILE")]
    file: Option<PathBuf>,
}

/// # Errors
/// What is wrong with the configuration, or with the file.
pub(crate) fn execute(arguments: &Arguments) -> anyhow::Result<()> {
    let loaded = arguments.config.load(MissingSecret::StandIn, false)?;
    let text = without_secrets(gather(arguments, loaded)?, arguments)?;
    if arguments.file.as_deref().is_some_and(|file| file.as_os_str() == "-") {
        return Ok(Screen::stdout().text(&text)?);
    }
    let day = quantity::moment(SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default().as_secs());
    let day = day.split(' ').next().unwrap_or_default();
    let path = arguments.file.clone().unwrap_or_else(|| format!("turnpike-support-{day}.txt").into());
    File::options()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&path)
        .and_then(|mut file| file.write_all(text.as_bytes()))
        .with_context(|| {
            format!("{} cannot be written: name another file that does not exist yet", path.display())
        })?;
    Ok(Screen::stdout().line(&format!("{} is written: read it before you give it away", path.display()))?)
}

fn gather(arguments: &Arguments, loaded: Loaded) -> anyhow::Result<String> {
    let mut text = String::new();
    let mut part = |name: &str, body: &str| _ = writeln!(text, "==== {name} ====\n{}\n", body.trim_end());
    let file = loaded.file.as_ref().map(|file| file.display().to_string());
    part(
        "turnpike",
        &format!("{} with {}", env!("CARGO_PKG_VERSION"), file.as_deref().unwrap_or("built-in defaults")),
    );
    let read = |path: &str| fs::read_to_string(path).unwrap_or_else(|error| error.to_string());
    let kernel = rustix::system::uname();
    let system = format!(
        "{} {}, {} processors\n{}",
        kernel.sysname().to_string_lossy(),
        kernel.release().to_string_lossy(),
        std::thread::available_parallelism().map_or(1, usize::from),
        read("/etc/os-release"),
    );
    part("system", &system);
    part("memory", &read("/proc/meminfo").lines().take(3).collect::<Vec<_>>().join("\n"));
    for sysctl in ["net/core/rmem_max", "net/ipv4/ip_local_port_range", "net/ipv4/ip_local_reserved_ports"] {
        part(sysctl, &read(&format!("/proc/sys/{sysctl}")));
    }
    part("configuration", &config_show::as_toml(&config_show::effective(&loaded.written), &loaded.config));

    let relay = RelayAdmin::of(&arguments.config)?;
    for (name, path) in [("relay status", STATUS), ("cost", COST), ("budget", BUDGET)] {
        part(name, &relay.text(path).unwrap_or_else(|error| error.to_string()));
    }
    for (name, listener) in [
        ("relay metrics", loaded.config.metrics.relay_listen),
        ("signaling metrics", loaded.config.metrics.signaling_listen),
    ] {
        let metrics = listener.map(|address| http::get(address, "/metrics", WITHIN));
        part(
            name,
            &match metrics {
                None => "served nowhere".to_owned(),
                Some(Ok(answer)) => answer.body,
                Some(Err(error)) => error.to_string(),
            },
        );
    }
    let patient = Patient {
        host: Host::detect(),
        relay: relay.get(STATUS).map_err(|error| error.to_string()),
        budget: relay.get(BUDGET).ok(),
        loaded,
    };
    let findings = Group::ALL.into_iter().flat_map(|group| examine(&patient, group));
    let findings: Vec<String> = findings
        .map(|finding| format!("{:<8}{:<10}{}", finding.verdict.word(), finding.group, finding.found))
        .collect();
    part("doctor", &findings.join("\n"));
    if arguments.with_log {
        for unit in ["turnpike-relay", "turnpike-signaling"] {
            part(&format!("log of {unit}"), &log(unit));
        }
    }
    Ok(text)
}

fn log(unit: &str) -> String {
    match Command::new("journalctl").args(["--no-pager", "--lines", LOG_LINES, "--unit", unit]).output() {
        Ok(output) if output.status.success() => String::from_utf8_lossy(&output.stdout).into_owned(),
        Ok(output) => String::from_utf8_lossy(&output.stderr).into_owned(),
        Err(error) => format!("journalctl does not run: {error}"),
    }
}

/// Nothing of this should be in it; should it be all the same, it goes.
fn without_secrets(mut text: String, arguments: &Arguments) -> anyhow::Result<String> {
    let auth = arguments.config.load(MissingSecret::StandIn, false)?.config.auth;
    let passwords = auth.static_users.iter().map(|user| &user.password);
    for secret in auth.secrets.iter().chain(&auth.api_keys).chain(passwords) {
        if let Some(found) = readable(secret).filter(|found| text.contains(found)) {
            text = text.replace(found, "***");
        }
    }
    Ok(text)
}

/// A short password would take half of the text with it.
fn readable(secret: &Secret) -> Option<&str> {
    std::str::from_utf8(secret.expose()).ok().filter(|text| text.len() >= 6)
}
