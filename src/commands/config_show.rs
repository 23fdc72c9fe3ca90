use clap::Args;
use serde::Serialize;
use turnpike_config::{Config, MissingSecret, Place, PublicAddress, Setting, Written, masked, sample_keys};

use super::ConfigFile;
use crate::screen::Screen;

/// Where the remark on a value stands.
const COLUMN: usize = 48;

/// Print what is set, and where; passwords are masked.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    config: ConfigFile,
    /// Every key, those with their default too
    #[arg(long)]
    effective: bool,
    /// As a JSON array
    #[arg(long)]
    json: bool,
}

/// A key with its value, which may be shown to anybody.
#[derive(Debug, Serialize)]
pub(crate) struct Shown {
    pub(crate) key: String,
    /// As TOML; absent where there is none, as of `[[auth.static_user]]` by default.
    pub(crate) value: Option<String>,
    /// `default`, the variable, or file and line.
    pub(crate) origin: String,
}

/// # Errors
/// What is wrong with the configuration.
pub(crate) fn execute(arguments: &Arguments) -> anyhow::Result<()> {
    let loaded = arguments.config.load(MissingSecret::StandIn, false)?;
    let mut shown = effective(&loaded.written);
    shown.retain(|key| arguments.effective || key.origin != DEFAULT);
    let mut screen = Screen::stdout();
    match arguments.json {
        true => Ok(screen.line(&serde_json::to_string_pretty(&shown)?)?),
        false => Ok(screen.text(&as_toml(&shown, &loaded.config))?),
    }
}

const DEFAULT: &str = "default";

/// Every key in the order of the sample.
pub(crate) fn effective(written: &Written) -> Vec<Shown> {
    let shown = |known: turnpike_config::Explained| match written.get(&known.key) {
        Some(setting) => {
            Shown { value: Some(masked(&known.key, &setting.value)), origin: origin(setting), key: known.key }
        }
        None => Shown { value: known.default, origin: DEFAULT.to_owned(), key: known.key },
    };
    sample_keys().into_iter().map(shown).collect()
}

/// A file that can be loaded again but for what is masked.
pub(crate) fn as_toml(shown: &[Shown], config: &Config) -> String {
    let (mut text, mut open) = (String::new(), "");
    // What belongs to no section stands before all of them.
    for Shown { key, value, origin } in shown.iter().filter(|shown| !shown.key.contains('.')) {
        if let Some(value) = value {
            text.push_str(&format!("{key} = {value} # {origin}\n"));
        }
    }
    for Shown { key, value, origin } in shown {
        let (Some((section, name)), Some(value)) = (key.split_once('.'), value) else { continue };
        if section != open {
            let gap = if text.is_empty() { "" } else { "\n" };
            text.push_str(&format!("{gap}[{section}]\n"));
            open = section;
        }
        let meaning = meaning(key, value, config).map(|meaning| format!(": {meaning}")).unwrap_or_default();
        let assigned = format!("{name} = {value}");
        text.push_str(&format!("{assigned:<COLUMN$} # {origin}{meaning}\n"));
    }
    text
}

pub(super) fn origin(setting: &Setting) -> String {
    setting.place.as_ref().map_or_else(
        || "set".to_owned(),
        |place| match place {
            Place::Line { file, line, .. } => format!("{}:{line}", file.display()),
            other => other.to_string(),
        },
    )
}

/// What a value that stands for another has become here.
pub(super) fn meaning(key: &str, value: &str, config: &Config) -> Option<String> {
    let node = &config.node;
    let found = |address: &Option<PublicAddress>| {
        address.as_ref().map_or_else(|| "none".to_owned(), ToString::to_string)
    };
    match (key, value) {
        ("node.name", "\"\"") => Some(node.name.clone()),
        ("node.public_ipv4", "\"auto\"") => Some(found(&node.public_ipv4)),
        ("node.public_ipv6", "\"auto\"") => Some(found(&node.public_ipv6)),
        ("auth.realm", "\"\"") => Some(config.auth.realm.clone()),
        ("relay.shards", "0") => Some(config.relay.shards.to_string()),
        ("relay.max_allocations", "0") => Some(config.relay.max_allocations.to_string()),
        ("ice.urls", "\"auto\"") => {
            Some([config.ice.stun_urls.as_slice(), &config.ice.turn_urls].concat().join(" "))
        }
        _ => None,
    }
}
