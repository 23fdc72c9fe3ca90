//! The lock that keeps a second relay off a state folder.

use std::{
    fs::{self, File, TryLockError},
    io::{Read as _, Seek as _, Write as _},
    path::Path,
};

use crate::StartError;

/// Held while the relay runs; the kernel frees it however the process ends.
#[derive(Debug)]
pub(crate) struct StateLock {
    _file: File,
}

impl StateLock {
    /// Takes the lock of a state folder, which is made when missing.
    ///
    /// # Errors
    /// [`StartError::StateDir`] when the folder cannot be used, [`StartError::AlreadyRunning`] when another relay does.
    pub(crate) fn take(state_dir: &Path) -> Result<Self, StartError> {
        let unusable = |source| StartError::StateDir { path: state_dir.to_owned(), source };
        fs::create_dir_all(state_dir).map_err(unusable)?;
        let path = state_dir.join("relay.lock");
        let mut file = File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)
            .map_err(unusable)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut holder = String::new();
                // Its number only makes the message better.
                let _ = file.read_to_string(&mut holder);
                let process = holder.trim().parse().ok();
                return Err(StartError::AlreadyRunning { path: state_dir.to_owned(), process });
            }
            Err(TryLockError::Error(source)) => return Err(unusable(source)),
        }
        let write = |file: &mut File| {
            file.set_len(0)?;
            file.rewind()?;
            writeln!(file, "{}", std::process::id())
        };
        write(&mut file).map_err(unusable)?;
        Ok(Self { _file: file })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_folder_serves_one_relay_at_a_time() {
        let folder = tempfile::tempdir().unwrap();
        let state = folder.path().join("made/when/missing");
        let lock = StateLock::take(&state).unwrap();
        let refused = StateLock::take(&state).unwrap_err();
        assert!(
            matches!(refused, StartError::AlreadyRunning { process, .. } if process == Some(std::process::id()))
        );
        assert!(StateLock::take(&folder.path().join("another")).is_ok());
        drop(lock);
        assert!(StateLock::take(&state).is_ok());
    }

    #[test]
    fn a_state_folder_that_cannot_be_made_is_named() {
        let refused = StateLock::take(Path::new("/proc/nowhere")).unwrap_err();
        assert!(refused.to_string().contains("/proc/nowhere"), "{refused}");
    }
}
