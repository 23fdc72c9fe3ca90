//! The files that hold secrets: read by path, made once, never printed.

use std::{
    fs::{self, File, Permissions},
    io::{self, Write as _},
    os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _, fchown},
    path::{Path, PathBuf},
    time::Duration,
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use crate::{ConfigError, Problem, Secret};

/// Shortest secret that signs credentials, in bytes.
const MIN_SECRET_LEN: usize = 32;
/// Random bytes of a secret that is made; 64 characters of base64.
const MADE_SECRET_LEN: usize = 48;

/// Why a file of secrets cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SecretError {
    #[error("{} cannot be read ({error}): give the user that runs turnpike the right to read it", path.display())]
    Unreadable { path: PathBuf, error: io::Error },
    #[error("{} holds nothing: write one {what} a line, or remove the file and the key that names it", path.display())]
    NoKeys { path: PathBuf, what: &'static str },
    #[error("the secret file {} holds nothing: remove it, and a secret is made at the next start", path.display())]
    Empty { path: PathBuf },
    #[error(
        "{}:{line}: the secret has {length} bytes, and {MIN_SECRET_LEN} are the fewest: \
         write a longer one, such as `openssl rand -base64 48` makes",
        path.display()
    )]
    Short { path: PathBuf, line: usize, length: usize },
    #[error(
        "the secret file {} cannot be changed ({error}): run this as a user that may, such as root by sudo",
        path.display()
    )]
    Unchanged { path: PathBuf, error: io::Error },
    #[error(
        "the secret file {} cannot be made ({error}): make its folder writable, \
         or name another file in `auth.secret_file`",
        path.display()
    )]
    Unmade { path: PathBuf, error: io::Error },
}

/// The secrets of a file, one a line, the first one signing; `None` when there is no such file.
pub(crate) fn read_secrets(path: &Path) -> Result<Option<Vec<Secret>>, SecretError> {
    let Some(lines) = read_lines(path)? else { return Ok(None) };
    if let Some((line, secret)) = lines.iter().find(|(_, secret)| secret.expose().len() < MIN_SECRET_LEN) {
        return Err(SecretError::Short { path: path.into(), line: *line, length: secret.expose().len() });
    }
    match lines.is_empty() {
        true => Err(SecretError::Empty { path: path.into() }),
        false => Ok(Some(lines.into_iter().map(|(_, secret)| secret).collect())),
    }
}

/// The keys of a file, one a line.
pub(crate) fn read_keys(path: &Path, what: &'static str) -> Result<Vec<Secret>, SecretError> {
    let missing = || SecretError::Unreadable { path: path.into(), error: io::ErrorKind::NotFound.into() };
    let lines = read_lines(path)?.ok_or_else(missing)?;
    if lines.is_empty() {
        return Err(SecretError::NoKeys { path: path.into(), what });
    }
    Ok(lines.into_iter().map(|(_, key)| key).collect())
}

/// Makes the file with one random secret unless another process is quicker, then reads it.
///
/// It appears whole or not at all: a second service that starts at the same moment reads the same secret.
pub(crate) fn make_secret(path: &Path) -> Result<Vec<Secret>, SecretError> {
    let unmade = |error| SecretError::Unmade { path: path.into(), error };
    if let Some(folder) = path.parent() {
        fs::DirBuilder::new().recursive(true).mode(0o750).create(folder).map_err(unmade)?;
    }
    let mut draft = path.as_os_str().to_owned();
    draft.push(format!(".{}", std::process::id()));
    let made = write_draft(Path::new(&draft)).and_then(|()| match fs::hard_link(&draft, path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        _ => Ok(()),
    });
    // The draft may not exist at all; what counts is whether the secret does.
    let _ = fs::remove_file(&draft);
    made.map_err(unmade)?;
    read_secrets(path)?.ok_or_else(|| unmade(io::ErrorKind::NotFound.into()))
}

/// A file of secrets that is looked after while services use it.
#[derive(Debug)]
pub struct SecretFile<'a> {
    path: &'a Path,
}

/// Bytes of a fingerprint that are shown, as hexadecimal digits.
const FINGERPRINT_LEN: usize = 8;

impl<'a> SecretFile<'a> {
    /// The file at a path, which exists but for [`Self::make`].
    pub fn at(path: &'a Path) -> Self {
        Self { path }
    }

    /// Makes it with one random secret unless it is there, for its owner and its group, and tells whether it was made.
    ///
    /// # Errors
    /// Of the file system, with what to do.
    pub fn make(&self) -> Result<bool, ConfigError> {
        if read_secrets(self.path).map_err(refused)?.is_some() {
            return Ok(false);
        }
        make_secret(self.path).map_err(refused)?;
        Ok(true)
    }

    /// Puts a new random secret in front of the others.
    ///
    /// # Errors
    /// Of the file system, with what to do.
    pub fn rotate(&self) -> Result<(), ConfigError> {
        let mut text = Zeroizing::new(random_text().as_bytes().to_vec());
        for secret in self.secrets()? {
            text.push(b'\n');
            text.extend(secret.expose());
        }
        self.replace(&text)
    }

    /// Keeps the first secret alone, and tells how many others there were.
    ///
    /// # Errors
    /// As [`Self::rotate`].
    pub fn prune(&self) -> Result<usize, ConfigError> {
        let secrets = self.secrets()?;
        if secrets.len() > 1 {
            self.replace(secrets[0].expose())?;
        }
        Ok(secrets.len() - 1)
    }

    /// For each secret, the beginning of its SHA-256: the same on two machines when the secrets are.
    ///
    /// # Errors
    /// As [`Self::rotate`].
    pub fn fingerprints(&self) -> Result<Vec<String>, ConfigError> {
        let of = |secret: &Secret| {
            let digest = Sha256::digest(secret.expose());
            digest[..FINGERPRINT_LEN].iter().map(|byte| format!("{byte:02x}")).collect()
        };
        Ok(self.secrets()?.iter().map(of).collect())
    }

    /// How long ago it was changed.
    ///
    /// # Errors
    /// As [`Self::rotate`].
    pub fn age(&self) -> Result<Duration, ConfigError> {
        let changed = fs::metadata(self.path).and_then(|file| file.modified());
        // One of the future was changed just now.
        changed.map(|changed| changed.elapsed().unwrap_or_default()).map_err(|error| self.unreadable(error))
    }

    fn secrets(&self) -> Result<Vec<Secret>, ConfigError> {
        let secrets = read_secrets(self.path).map_err(refused)?;
        secrets.ok_or_else(|| self.unreadable(io::ErrorKind::NotFound.into()))
    }

    /// Whole or not at all, for the same users as before.
    fn replace(&self, text: &[u8]) -> Result<(), ConfigError> {
        let mut draft = self.path.as_os_str().to_owned();
        draft.push(format!(".{}", std::process::id()));
        let written = fs::metadata(self.path).and_then(|before| {
            let mut file = File::options().write(true).create_new(true).mode(0o600).open(&draft)?;
            file.write_all(text)?;
            file.write_all(b"\n")?;
            fchown(&file, Some(before.uid()), Some(before.gid()))?;
            file.set_permissions(before.permissions())?;
            file.sync_all()?;
            fs::rename(&draft, self.path)
        });
        written.map_err(|error| {
            // It may not exist.
            let _ = fs::remove_file(&draft);
            refused(SecretError::Unchanged { path: self.path.into(), error })
        })
    }

    fn unreadable(&self, error: io::Error) -> ConfigError {
        refused(SecretError::Unreadable { path: self.path.into(), error })
    }
}

fn refused(error: SecretError) -> ConfigError {
    Problem::nowhere(error.to_string()).into()
}

/// A secret that no file holds.
pub(crate) fn random_secret() -> Secret {
    Secret::new(random_text().as_bytes())
}

/// Whether every user of the machine may read the file.
pub(crate) fn is_open_to_all(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|file| file.permissions().mode() & 0o004 != 0)
}

fn write_draft(path: &Path) -> io::Result<()> {
    let mut file = File::options().write(true).create_new(true).mode(0o640).open(path)?;
    // The umask may have taken the group's right away.
    file.set_permissions(Permissions::from_mode(0o640))?;
    writeln!(file, "{}", *random_text())?;
    file.sync_all()
}

fn random_text() -> Zeroizing<String> {
    let mut bytes = Zeroizing::new([0; MADE_SECRET_LEN]);
    getrandom::fill(&mut *bytes).expect("the kernel gives random bytes");
    Zeroizing::new(STANDARD.encode(*bytes))
}

/// The lines that hold something, with their numbers; `None` when there is no such file.
fn read_lines(path: &Path) -> Result<Option<Vec<(usize, Secret)>>, SecretError> {
    let bytes = match fs::read(path) {
        Ok(bytes) => Zeroizing::new(bytes),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(SecretError::Unreadable { path: path.into(), error }),
    };
    let lines = bytes.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii);
    let numbered = (1..).zip(lines).filter(|(_, line)| !line.is_empty());
    Ok(Some(numbered.map(|(number, line)| (number, Secret::new(line))).collect()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_made_secret_is_read_back_by_everyone_who_starts() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("new/secret");
        let made = make_secret(&path).unwrap();
        assert_eq!(made.len(), 1);
        assert_eq!(made[0].expose().len(), 64);
        assert_eq!(make_secret(&path).unwrap(), made, "a second maker takes what is there");
        assert_eq!(read_secrets(&path).unwrap().unwrap(), made);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o640);
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1, "no draft is left");
        assert!(!is_open_to_all(&path));
    }

    #[test]
    fn the_first_line_signs_and_all_verify() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secret");
        fs::write(&path, format!("\n{}  \r\n\n{}", "a".repeat(32), "b".repeat(40))).unwrap();
        let secrets = read_secrets(&path).unwrap().unwrap();
        assert_eq!(secrets, [Secret::new("a".repeat(32)), Secret::new("b".repeat(40))]);
    }

    #[test]
    fn short_empty_and_unreadable_files_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secret");
        let said = |error: SecretError| error.to_string().replace(&path.display().to_string(), "FILE");
        assert!(read_secrets(&path).unwrap().is_none());

        fs::write(&path, format!("{}\nshort\n", "a".repeat(32))).unwrap();
        assert!(said(read_secrets(&path).unwrap_err()).starts_with("FILE:2: the secret has 5 bytes, and 32"));

        fs::write(&path, "\n \n").unwrap();
        assert!(said(read_secrets(&path).unwrap_err()).starts_with("the secret file FILE holds nothing"));
        assert!(
            said(read_keys(&path, "API key").unwrap_err())
                .starts_with("FILE holds nothing: write one API key a line")
        );

        fs::remove_file(&path).unwrap();
        fs::create_dir(&path).unwrap();
        assert!(said(read_secrets(&path).unwrap_err()).starts_with("FILE cannot be read ("));
    }

    #[test]
    fn a_folder_that_cannot_be_made_is_told() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("file"), "").unwrap();
        let error = make_secret(&folder.path().join("file/secret")).unwrap_err();
        assert!(error.to_string().contains("cannot be made"), "{error}");
    }
}
