use std::{
    fs,
    path::{Path, PathBuf},
};

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
#[folder = "grafana/dashboards/"]
struct Dashboards;

#[derive(RustEmbed)]
#[folder = "grafana/prometheus/"]
struct Prometheus;

#[derive(RustEmbed)]
#[folder = "grafana/provisioning/"]
struct Provisioning;

const README: &str = include_str!("../../grafana/README.md");

/// # Errors
/// When the folder cannot be written to.
pub(crate) fn execute(arguments: &Arguments) -> anyhow::Result<()> {
    let Action::Export { dir } = &arguments.action;
    let mut screen = Screen::stdout();
    write::<Dashboards>(&dir.join("dashboards"), &mut screen)?;
    write::<Prometheus>(&dir.join("prometheus"), &mut screen)?;
    write::<Provisioning>(&dir.join("provisioning"), &mut screen)?;
    let readme = dir.join("README.md");
    write_file(&readme, README.as_bytes())?;
    Ok(screen.line(&format!("{} tells where each belongs", readme.display()))?)
}

fn write<Assets: RustEmbed>(folder: &Path, screen: &mut Screen) -> anyhow::Result<()> {
    for name in Assets::iter() {
        let asset = Assets::get(&name).expect("what is listed is there");
        let path = folder.join(&*name);
        write_file(&path, &asset.data)?;
        screen.line(&path.display().to_string())?;
    }
    Ok(())
}

fn write_file(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    fs::create_dir_all(path.parent().unwrap_or(path))
        .and_then(|()| fs::write(path, bytes))
        .with_context(|| format!("{} cannot be written: name another folder", path.display()))
}
