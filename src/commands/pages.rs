//! What is made of the command line itself.

use std::{fs, io, path::PathBuf};

use anyhow::Context as _;
use clap::{Args, CommandFactory as _};
use clap_complete::Shell;
use clap_mangen::Man as Page;

use super::Arguments as CommandLine;

/// Print what a shell completes by.
#[derive(Debug, Args)]
pub(crate) struct Completion {
    /// The shell
    shell: Shell,
}

/// Print the manual page, or write those of all commands.
#[derive(Debug, Args)]
pub(crate) struct Man {
    /// Write turnpike.1 and a page for each command into this folder
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
}

/// # Errors
/// None.
pub(crate) fn complete(arguments: &Completion) -> anyhow::Result<()> {
    clap_complete::generate(arguments.shell, &mut CommandLine::command(), "turnpike", &mut io::stdout());
    Ok(())
}

/// # Errors
/// When the folder cannot be written to.
pub(crate) fn man(arguments: &Man) -> anyhow::Result<()> {
    let command = CommandLine::command();
    match &arguments.dir {
        None => Ok(Page::new(command).render(&mut io::stdout())?),
        Some(dir) => fs::create_dir_all(dir)
            .and_then(|()| clap_mangen::generate_to(command, dir))
            .with_context(|| format!("{} cannot be written to: name another folder", dir.display())),
    }
}
