use std::{fs, path::PathBuf};

use anyhow::Context as _;
use clap::Args;

use crate::{coturn, screen::Screen};

/// Turn a configuration of coturn into one of this program: TOML on standard output, with what has no equivalent named in
/// comments.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// The file, such as /etc/turnserver.conf
    file: PathBuf,
}

/// # Errors
/// When the file cannot be read.
pub(crate) fn execute(arguments: &Arguments) -> anyhow::Result<()> {
    let shown = arguments.file.display();
    let text = fs::read(&arguments.file).with_context(|| {
        format!(
            "{shown} cannot be read: name coturn's configuration, and run this as a user that may read it"
        )
    })?;
    Ok(Screen::stdout()
        .text(&coturn::translate(&String::from_utf8_lossy(&text)).to_toml(&shown.to_string()))?)
}
