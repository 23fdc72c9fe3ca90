//! Logs: one line each on stderr.

use std::io::{self, IsTerminal as _};

use anyhow::Context as _;
use tracing_subscriber::{
    Layer as _, Registry, filter::Targets, fmt, layer::SubscriberExt as _, reload,
    util::SubscriberInitExt as _,
};
use turnpike_config::{Log, LogFormat};

/// Changes what is logged.
#[derive(Debug, Clone)]
pub(crate) struct Levels(reload::Handle<Targets, Registry>);

impl Levels {
    /// # Errors
    /// When the level is none.
    pub(crate) fn set(&self, log: &Log) -> anyhow::Result<()> {
        Ok(self.0.reload(levels(log)?)?)
    }
}

/// Starts to log as configured.
///
/// # Errors
/// When something logs already, or the level is none.
pub(crate) fn start(log: &Log) -> anyhow::Result<Levels> {
    let (levels, handle) = reload::Layer::new(levels(log)?);
    let lines = fmt::layer().with_writer(io::stderr);
    let lines = match log.format {
        LogFormat::Text => lines.with_target(false).with_ansi(io::stderr().is_terminal()).boxed(),
        LogFormat::Json => lines.json().flatten_event(true).with_span_list(false).boxed(),
    };
    tracing_subscriber::registry().with(levels).with(lines).try_init()?;
    Ok(Levels(handle))
}

fn levels(log: &Log) -> anyhow::Result<Targets> {
    log.level.parse().context("`log.level` is not a level")
}
