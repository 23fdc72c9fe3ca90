use std::{fs, path::PathBuf, time::Duration};

use anyhow::{Context as _, bail};
use clap::Args;
use turnpike_config::parse_duration;
use zeroize::Zeroizing;

use crate::{
    exit::Shown,
    probe::{Login, Report, Target, try_way},
    screen::Screen,
};

/// Try a TURN server, this one or any other, from the first byte to a stream through the relay.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// turn:host:port?transport=udp, turns:host:port, or a host, whose usual ways are all tried
    #[arg(required = true, value_name = "URL")]
    targets: Vec<Target>,
    /// The server's secret: the first line of this file
    #[arg(long, value_name = "FILE", conflicts_with_all = ["user", "pass"])]
    secret_file: Option<PathBuf>,
    /// A username, with --pass
    #[arg(long, requires = "pass")]
    user: Option<String>,
    /// The user's password
    #[arg(long, requires = "user", env = "TURNPIKE_PROBE_PASS", hide_env_values = true)]
    pass: Option<String>,
    /// How long each way is filled with data; 0 leaves it out
    #[arg(long, value_name = "SECONDS", default_value = "3", value_parser = seconds)]
    seconds: Duration,
    /// Print one JSON object a way
    #[arg(long)]
    json: bool,
}

/// # Errors
/// A host without an address, a file that cannot be read; [`Shown`] when something does not work.
pub(crate) fn execute(arguments: &Arguments) -> anyhow::Result<()> {
    let login = login(arguments)?;
    let mut screen = Screen::stdout();
    let mut has_failed = false;
    for target in &arguments.targets {
        let ways = target.resolve().with_context(|| {
            format!("{} has no address that this machine can find: does its DNS record exist?", target.host)
        })?;
        for way in ways {
            let report = try_way(&way, login.as_ref(), arguments.seconds);
            has_failed |= report.has_failed();
            match arguments.json {
                true => screen.line(&serde_json::to_string(&report)?)?,
                false => print(&mut screen, &report)?,
            }
        }
    }
    match has_failed {
        true => Err(Shown.into()),
        false => Ok(()),
    }
}

fn print(screen: &mut Screen, report: &Report) -> anyhow::Result<()> {
    screen.heading(&format!("{} {}", report.transport, report.server))?;
    for finding in &report.findings {
        screen.verdict(finding.verdict, finding.check, &finding.found)?;
    }
    Ok(screen.line("")?)
}

fn login(arguments: &Arguments) -> anyhow::Result<Option<Login>> {
    if let (Some(name), Some(password)) = (&arguments.user, &arguments.pass) {
        return Ok(Some(Login::User { name: name.clone(), password: Zeroizing::new(password.clone()) }));
    }
    let Some(file) = &arguments.secret_file else { return Ok(None) };
    let text = fs::read(file).map(Zeroizing::new).with_context(|| {
        format!("{} cannot be read: run this as a user that may, or copy the secret", file.display())
    })?;
    let first = text.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii).find(|line| !line.is_empty());
    match first {
        Some(secret) => Ok(Some(Login::Secret(Zeroizing::new(secret.to_vec())))),
        None => bail!("{} holds nothing: its first line is the secret", file.display()),
    }
}

fn seconds(text: &str) -> Result<Duration, String> {
    match text.parse::<f64>() {
        Ok(seconds) => Duration::try_from_secs_f64(seconds).map_err(|error| error.to_string()),
        Err(_) => parse_duration(text).map_err(|error| error.to_string()),
    }
}
