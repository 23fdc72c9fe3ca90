use std::{
    thread,
    time::{Duration, Instant},
};

use clap::Args;
use turnpike_config::{format_duration, parse_duration};
use turnpike_relay_api::admin::{DRAIN, STATUS, Status, UNDRAIN};

use super::ConfigFile;
use crate::{exit::Shown, relay_admin::RelayAdmin, screen::Screen};

/// Make no new allocation; those that live go on.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    config: ConfigFile,
    /// Wait until no allocation is left, for so long at most
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    timeout: Option<Duration>,
}

/// Make new allocations again.
#[derive(Debug, Args)]
pub(crate) struct Undrain {
    #[command(flatten)]
    config: ConfigFile,
}

/// # Errors
/// When the relay does not answer; [`Shown`] when allocations are left in the end.
pub(crate) fn execute(arguments: &Arguments) -> anyhow::Result<()> {
    let relay = RelayAdmin::of(&arguments.config)?;
    let mut screen = Screen::stdout();
    let mut status: Status = relay.post(DRAIN, &())?;
    screen
        .line(&format!("{} drains: no new allocation is made, {} live", status.node, status.allocations))?;
    let Some(timeout) = arguments.timeout else {
        return Ok(screen.line("It serves again after `turnpike undrain`, or a restart.")?);
    };
    let deadline = Instant::now() + timeout;
    while status.allocations > 0 && Instant::now() < deadline {
        thread::sleep(Duration::from_millis(200).min(deadline - Instant::now()));
        let left = status.allocations;
        status = relay.get(STATUS)?;
        if status.allocations != left {
            screen.line(&format!("{} live", status.allocations))?;
        }
    }
    match status.allocations {
        0 => Ok(screen.line("none is left: it may be stopped and cuts nobody off")?),
        left => {
            screen.line(&format!(
                "{left} live still after {}: stopping the relay cuts them off",
                format_duration(timeout)
            ))?;
            Err(Shown.into())
        }
    }
}

/// # Errors
/// When the relay does not answer, or ends.
pub(crate) fn undo(arguments: &Undrain) -> anyhow::Result<()> {
    let status: Status = RelayAdmin::of(&arguments.config)?.post(UNDRAIN, &())?;
    Ok(Screen::stdout().line(&format!("{} serves: new allocations are made", status.node))?)
}

fn duration(text: &str) -> Result<Duration, String> {
    parse_duration(text).map_err(|error| error.to_string())
}
