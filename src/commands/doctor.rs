use clap::Args;
use turnpike_config::{Host, MissingSecret};
use turnpike_relay_api::{admin::STATUS, cost::BUDGET};

use super::ConfigFile;
use crate::{
    doctor::{Group, Patient, examine},
    exit::Shown,
    relay_admin::RelayAdmin,
    screen::{Screen, Verdict},
};

/// Look for what keeps this node from serving strangers, and say what mends it.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    config: ConfigFile,
    /// Only this group of checks; may be given several times
    #[arg(long, value_name = "GROUP")]
    only: Vec<Group>,
    /// As one JSON array
    #[arg(long)]
    json: bool,
}

/// # Errors
/// What is wrong with the configuration; [`Shown`] when something has failed.
pub(crate) fn execute(arguments: &Arguments) -> anyhow::Result<()> {
    let loaded = arguments.config.load(MissingSecret::Refuse, false)?;
    let relay = RelayAdmin::of(&arguments.config)?;
    let patient = Patient {
        loaded,
        host: Host::detect(),
        relay: relay.get(STATUS).map_err(|error| error.to_string()),
        budget: relay.get(BUDGET).ok(),
    };
    let mut screen = Screen::stdout();
    let mut all = Vec::new();
    for group in Group::ALL {
        if !arguments.only.is_empty() && !arguments.only.contains(&group) {
            continue;
        }
        let findings = examine(&patient, group);
        if !arguments.json {
            for finding in &findings {
                screen.verdict(finding.verdict, &group.to_string(), &finding.found)?;
            }
        }
        all.extend(findings);
    }
    if arguments.json {
        screen.line(&serde_json::to_string_pretty(&all)?)?;
    }
    match all.iter().any(|finding| finding.verdict == Verdict::Fail) {
        true => Err(Shown.into()),
        false => Ok(()),
    }
}
