use clap::Args;
use turnpike_config::{MissingSecret, explain_key, masked};

use super::{
    ConfigFile,
    config_show::{meaning, origin},
};
use crate::screen::Screen;

/// Say what a key is for, its default, and what it is set to.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// The key, such as relay.port_range or port_range
    key: String,
    #[command(flatten)]
    config: ConfigFile,
}

/// # Errors
/// That there is no such key; what is wrong with the configuration.
pub(crate) fn execute(arguments: &Arguments) -> anyhow::Result<()> {
    let explained = explain_key(&arguments.key)?;
    let loaded = arguments.config.load(MissingSecret::StandIn, false)?;
    let mut screen = Screen::stdout();
    screen.heading(&explained.key)?;
    screen.line(&format!("  {}", explained.text))?;
    screen.pair("Default", explained.default.as_deref().unwrap_or("none"))?;
    let setting = loaded.written.get(&explained.key);
    let value = match setting {
        Some(setting) => format!("{}, by {}", masked(&explained.key, &setting.value), origin(setting)),
        None => "the default".to_owned(),
    };
    screen.pair("Here", &value)?;
    let raw = setting.map(|setting| setting.value.as_str()).or(explained.default.as_deref());
    if let Some(meaning) = raw.and_then(|raw| meaning(&explained.key, raw, &loaded.config)) {
        screen.pair("Which is", &meaning)?;
    }
    let variable = explained.key.to_uppercase().replacen('.', "__", 1);
    Ok(screen.pair("Variable", &format!("TURNPIKE_{variable}"))?)
}
