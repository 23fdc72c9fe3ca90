use clap::Args;
use turnpike_relay_api::admin::{RELOAD, Reloaded};

use super::ConfigFile;
use crate::{exit::Shown, relay_admin::RelayAdmin, screen::Screen};

/// Read the configuration again: what can be taken without a restart is.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    config: ConfigFile,
    /// As one JSON object
    #[arg(long)]
    json: bool,
}

/// # Errors
/// When the relay does not answer; [`Shown`] when nothing was taken.
pub(crate) fn execute(arguments: &Arguments) -> anyhow::Result<()> {
    let reloaded: Reloaded = RelayAdmin::of(&arguments.config)?.post(RELOAD, &())?;
    let mut screen = Screen::stdout();
    if arguments.json {
        screen.line(&serde_json::to_string_pretty(&reloaded)?)?;
    } else {
        print(&mut screen, &reloaded)?;
    }
    if reloaded.success { Ok(()) } else { Err(Shown.into()) }
}

fn print(screen: &mut Screen, reloaded: &Reloaded) -> std::io::Result<()> {
    if !reloaded.success {
        for problem in &reloaded.problems {
            screen.line(problem)?;
        }
        return screen.line("Nothing was taken, and what was in force stays: mend this and reload again.");
    }
    let of = reloaded.services.join(" and ");
    let secrets = match reloaded.secrets {
        1 => "one secret".to_owned(),
        count => format!("{count} secrets"),
    };
    screen.line(&format!(
        "Reloaded by {of}: {secrets}, API keys, static users and the log's level are as configured now."
    ))?;
    if !reloaded.taken.is_empty() {
        screen.pair("Taken", &reloaded.taken.join(", "))?;
    }
    if !reloaded.waiting.is_empty() {
        screen.pair("Waiting", &format!("{}: taken at the next start only", reloaded.waiting.join(", ")))?;
    }
    if !reloaded.services.iter().any(|service| service == "signaling") {
        screen.line("Signaling is a process of its own: systemctl reload turnpike-signaling")?;
    }
    Ok(())
}
