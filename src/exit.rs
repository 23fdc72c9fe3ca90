//! How the process ends: 0 in order, 1 a problem found, 2 usage or configuration, 3 a service that does not answer.

use std::{
    io::{self, Write as _},
    path::PathBuf,
    process::ExitCode,
};

use turnpike_config::ConfigError;

/// A problem that has been shown already.
#[derive(Debug, thiserror::Error)]
#[error("problems were found")]
pub(crate) struct Shown;

/// The relay does not answer on its admin socket.
#[derive(Debug, thiserror::Error)]
#[error(
    "no relay answers on {path} ({source}): start it with `turnpike relay`, look at `systemctl status turnpike-relay`, \
     or name its configuration with --config",
    path = path.display()
)]
pub(crate) struct Unreachable {
    /// The socket.
    pub(crate) path: PathBuf,
    /// What the system says.
    pub(crate) source: io::Error,
}

/// Says on stderr what is wrong, a line for each problem, and chooses the code.
pub(crate) fn code_of(result: anyhow::Result<()>) -> ExitCode {
    let Err(error) = result else { return ExitCode::SUCCESS };
    if error.is::<Shown>() {
        return ExitCode::FAILURE;
    }
    // With stderr gone there is nobody left to tell.
    let mut stderr = std::io::stderr().lock();
    if let Some(error) = error.downcast_ref::<ConfigError>() {
        for problem in error.problems() {
            let _ = writeln!(stderr, "turnpike: {problem}");
        }
        return ExitCode::from(2);
    }
    // Whoever reads the output may have seen enough.
    if error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe) {
        return ExitCode::SUCCESS;
    }
    let _ = writeln!(stderr, "turnpike: {error}");
    if error.is::<Unreachable>() {
        return ExitCode::from(3);
    }
    ExitCode::FAILURE
}
