use std::time::Duration;

use anyhow::bail;
use clap::{Args, Subcommand};
use turnpike_config::{Auth, MissingSecret, SecretFile, format_duration};

use super::ConfigFile;
use crate::screen::Screen;

/// Look after the secret that signs credentials.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Put a new secret in front; the old ones are taken until they are pruned
    Rotate(Which),
    /// Remove all but the first, once no credential of theirs can live any more
    Prune(Prune),
    /// Show a fingerprint of each, to compare two machines by
    Fingerprint(Which),
}

#[derive(Debug, Args)]
struct Which {
    #[command(flatten)]
    config: ConfigFile,
}

#[derive(Debug, Args)]
struct Prune {
    #[command(flatten)]
    config: ConfigFile,
    /// At once: credentials of the old secrets are refused from then on
    #[arg(long)]
    now: bool,
}

const EMBEDDERS_LIFE: Duration = Duration::from_secs(86_400);
const RELOAD: &str =
    "Take it into use: systemctl reload turnpike-relay turnpike-signaling (or send both a SIGHUP)";

/// # Errors
/// What is wrong with the configuration or the secret file.
pub(crate) fn execute(arguments: &Arguments) -> anyhow::Result<()> {
    let mut screen = Screen::stdout();
    match &arguments.action {
        Action::Rotate(Which { config }) => {
            let loaded = config.load(MissingSecret::Refuse, false)?;
            SecretFile::at(&loaded.secret_file).rotate()?;
            print(&mut screen, &loaded.secret_file)?;
            screen.line(RELOAD)?;
            let ttl = format_duration(longest_life(&loaded.config.auth));
            screen.line(&format!(
                "After {ttl}, when every credential of the old one has expired: turnpike secret prune"
            ))?;
        }
        Action::Prune(Prune { config, now }) => {
            let loaded = config.load(MissingSecret::Refuse, false)?;
            let file = SecretFile::at(&loaded.secret_file);
            let life = longest_life(&loaded.config.auth);
            let age = file.age()?;
            if age < life && !now {
                bail!(
                    "the secret was changed {} ago, and credentials of before may live {}: wait, or refuse them at \
                     once with --now",
                    format_duration(Duration::from_secs(age.as_secs())),
                    format_duration(life)
                );
            }
            let removed = file.prune()?;
            print(&mut screen, &loaded.secret_file)?;
            match removed {
                0 => screen.line("There was one secret only.")?,
                _ => screen.line(RELOAD)?,
            }
        }
        Action::Fingerprint(Which { config }) => {
            let loaded = config.load(MissingSecret::Refuse, false)?;
            print(&mut screen, &loaded.secret_file)?;
        }
    }
    Ok(())
}

/// Of a credential: embedders may ask for a day.
fn longest_life(auth: &Auth) -> Duration {
    match auth.api_keys.is_empty() {
        true => auth.credential_ttl,
        false => EMBEDDERS_LIFE,
    }
}

fn print(screen: &mut Screen, path: &std::path::Path) -> anyhow::Result<()> {
    for (place, fingerprint) in SecretFile::at(path).fingerprints()?.iter().enumerate() {
        let what = if place == 0 { "signs" } else { "is taken" };
        screen.line(&format!("{fingerprint}  {what}"))?;
    }
    Ok(())
}
