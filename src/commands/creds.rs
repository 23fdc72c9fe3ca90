use std::time::Duration;

use clap::{Args, ValueEnum};
use serde::Serialize;
use turnpike_config::{Config, MissingSecret, format_duration, parse_duration};
use turnpike_relay_api::credential::Credential;

use super::ConfigFile;
use crate::{
    credential::{self, PeerConfiguration},
    screen::Screen,
};

/// Make a TURN credential.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    config: ConfigFile,
    /// How long the credential is good for [default: auth.credential_ttl]
    #[arg(long, value_name = "DURATION", value_parser = ttl)]
    ttl: Option<Duration>,
    /// Whose it is, as logs and metering show it: letters, digits, `.`, `_` and `-`
    #[arg(long, value_name = "LABEL", default_value = "cli", value_parser = label)]
    user: String,
    /// How to print it
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Format {
    /// For a person
    Text,
    /// One JSON object
    Json,
    /// Lines for a shell's `eval`
    Env,
}

/// # Errors
/// What is wrong with the configuration, and a secret that does not exist yet.
pub(crate) fn execute(arguments: &Arguments) -> anyhow::Result<()> {
    let config = arguments.config.load(MissingSecret::Refuse, false)?.config;
    let ttl = arguments.ttl.unwrap_or(config.auth.credential_ttl);
    let credential = credential::mint_for(&config, &arguments.user, ttl)?;
    let text = match arguments.format {
        Format::Text => return print_text(&config, &credential, ttl),
        Format::Json => serde_json::to_string_pretty(&object(&config, &credential, ttl))?,
        Format::Env => env_lines(&config, &credential),
    };
    Ok(Screen::stdout().line(&text)?)
}

fn print_text(config: &Config, credential: &Credential, ttl: Duration) -> anyhow::Result<()> {
    let mut screen = Screen::stdout();
    screen.pair("Username", &credential.username)?;
    screen.pair("Password", &credential.password)?;
    screen.pair("Good for", &format_duration(ttl))?;
    for url in &config.ice.turn_urls {
        screen.pair("TURN", url)?;
    }
    screen.line("")?;
    screen.heading("For new RTCPeerConnection(...):")?;
    screen.line("")?;
    Ok(screen.line(&PeerConfiguration::new(&config.ice, credential).to_json()?)?)
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Object<'a> {
    username: &'a str,
    password: &'a str,
    /// Seconds.
    ttl: u64,
    /// Unix time in seconds.
    expires_at: u64,
    #[serde(flatten)]
    peer: PeerConfiguration<'a>,
}

fn object<'a>(config: &'a Config, credential: &'a Credential, ttl: Duration) -> Object<'a> {
    Object {
        username: &credential.username,
        password: &credential.password,
        ttl: ttl.as_secs(),
        expires_at: credential.expires_at,
        peer: PeerConfiguration::new(&config.ice, credential),
    }
}

/// No value holds a quote: names, base64 and checked URLs only.
fn env_lines(config: &Config, credential: &Credential) -> String {
    format!(
        "TURN_USERNAME='{}'\nTURN_PASSWORD='{}'\nTURN_URLS='{}'",
        credential.username,
        *credential.password,
        config.ice.turn_urls.join(" ")
    )
}

fn ttl(text: &str) -> Result<Duration, String> {
    let ttl = parse_duration(text).map_err(|error| error.to_string())?;
    match ttl.as_secs() {
        0 => Err("a credential lives at least 1s".to_owned()),
        _ => Ok(ttl),
    }
}

fn label(text: &str) -> Result<String, String> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    match (1..=credential::MAX_LABEL_LEN).contains(&text.len()) && text.chars().all(allowed) {
        true => Ok(text.to_owned()),
        false => {
            Err(format!("a label is 1 to {} characters of A-Z a-z 0-9 . _ -", credential::MAX_LABEL_LEN))
        }
    }
}
