//! The file of the revocations: written whole, under another name, then put in its place.

use std::{
    fs::{self, File},
    io::{self, Write as _},
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

use turnpike_relay_api::admin::{Revocation, Revocations};

/// Where revocations are kept.
#[derive(Debug)]
pub(super) struct Store {
    path: PathBuf,
    /// The version of the list that the file holds.
    written: Mutex<u64>,
}

impl Store {
    /// The store of a state folder and what is in it.
    pub(super) fn open(state_dir: &Path) -> (Self, Vec<Revocation>) {
        let path = state_dir.join("revocations.json");
        let loaded = read(&path).unwrap_or_else(|error| {
            let aside = beside(&path, "unreadable");
            let kept = fs::rename(&path, &aside).is_ok();
            tracing::warn!(
                code = "revocations_unreadable",
                path = %path.display(),
                %error,
                kept_as = kept.then(|| aside.display().to_string()),
                "the list of revoked credentials cannot be read: the relay goes on without it, and what was revoked \
                 serves until it expires; revoke again what must not wait, or rotate the secret"
            );
            Vec::new()
        });
        (Self { path, written: Mutex::new(0) }, loaded)
    }

    /// Writes what `list` gives with its version, unless a version that is `wanted` or later is there already.
    pub(super) fn save(&self, wanted: u64, list: impl FnOnce() -> (u64, Vec<Revocation>)) -> io::Result<()> {
        let mut written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        if *written >= wanted {
            return Ok(());
        }
        let (version, revocations) = list();
        write(&self.path, &serde_json::to_vec(&Revocations { revocations })?)?;
        *written = version;
        Ok(())
    }
}

fn read(path: &Path) -> io::Result<Vec<Revocation>> {
    match fs::read(path) {
        Ok(text) => Ok(serde_json::from_slice::<Revocations>(&text)?.revocations),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

fn write(path: &Path, text: &[u8]) -> io::Result<()> {
    let new = beside(path, "new");
    let mut file = File::create(&new)?;
    file.write_all(text)?;
    file.sync_all()?;
    fs::rename(&new, path)?;
    match path.parent() {
        Some(folder) => File::open(folder)?.sync_all(),
        None => Ok(()),
    }
}

fn beside(path: &Path, extension: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".");
    name.push(extension);
    name.into()
}
