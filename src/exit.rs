//! How the process ends: 0 in order, 1 a problem found, 2 usage or configuration.

use std::{io::Write as _, process::ExitCode};

use turnpike_config::ConfigError;

/// A problem that has been shown already.
#[derive(Debug, thiserror::Error)]
#[error("problems were found")]
pub(crate) struct Shown;

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
    let _ = writeln!(stderr, "turnpike: {error}");
    ExitCode::FAILURE
}
