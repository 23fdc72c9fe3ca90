//! Logs: one line each on stderr.

use std::io::{self, IsTerminal as _};

use anyhow::Context as _;
use tracing_subscriber::{
    Layer as _, filter::Targets, fmt, layer::SubscriberExt as _, util::SubscriberInitExt as _,
};
use turnpike_config::{Log, LogFormat};

/// Starts to log as configured.
///
/// # Errors
/// When something logs already, or the level is none.
pub(crate) fn start(log: &Log) -> anyhow::Result<()> {
    let levels: Targets = log.level.parse().context("`log.level` is not a level")?;
    let lines = fmt::layer().with_writer(io::stderr);
    let lines = match log.format {
        LogFormat::Text => lines.with_target(false).with_ansi(io::stderr().is_terminal()).boxed(),
        LogFormat::Json => lines.json().flatten_event(true).with_span_list(false).boxed(),
    };
    tracing_subscriber::registry().with(lines.with_filter(levels)).try_init()?;
    Ok(())
}
