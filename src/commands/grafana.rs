use std::{fs, path::PathBuf};

use anyhow::Context as _;
use clap::{Args, Subcommand};
use rust_embed::RustEmbed;

use crate::screen::Screen;

/// Get the dashboards and alerts for Prometheus and Grafana.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Write dashboards, rules and provisioning of this version into a folder, over those of another
    Export {
        /// The folder
        dir: PathBuf,
    },
}

#[derive(RustEmbed)]
#[folder = "grafana/"]
struct Assets;

/// # Errors
/// When the folder cannot be written to.
pub(crate) fn execute(arguments: &Arguments) -> anyhow::Result<()> {
    let Action::Export { dir } = &arguments.action;
    let mut screen = Screen::stdout();
    for name in Assets::iter() {
        let asset = Assets::get(&name).expect("what is listed is there");
        let path = dir.join(&*name);
        let folder = path.parent().unwrap_or(dir);
        fs::create_dir_all(folder)
            .and_then(|()| fs::write(&path, asset.data))
            .with_context(|| format!("{} cannot be written: name another folder", path.display()))?;
        screen.line(&path.display().to_string())?;
    }
    Ok(screen.line(&format!("{} tells where each belongs", dir.join("README.md").display()))?)
}
