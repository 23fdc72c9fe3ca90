//! The file of the revocations: a line for each change, written anew when most of it is history.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write as _},
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

use turnpike_relay_api::admin::Revocation;

/// Lines of history that are kept in any case: some 400 KiB.
const HISTORY: usize = 4_096;

/// A change of the list: a revocation, or one that is taken back when its `until` is [`TAKEN_BACK`].
pub(super) type Change = Revocation;

/// Long over, so that it needs no other word in the file.
pub(super) const TAKEN_BACK: u64 = 0;

/// What a save has to write.
pub(super) struct Unsaved {
    /// Since the last save, in their order.
    pub(super) changes: Vec<Change>,
    /// How many revocations there are.
    pub(super) live: usize,
}

/// Where revocations are kept.
#[derive(Debug)]
pub(super) struct Journal {
    path: PathBuf,
    end: Mutex<End>,
}

/// Where the next line goes.
#[derive(Debug)]
struct End {
    /// `None` when the file is not what it should be: then it is written anew.
    file: Option<File>,
    lines: usize,
}

impl Journal {
    /// The journal of a state folder and what is in it, line by line. Lines that cannot be read are told and left out; a
    /// last one without its end was never said to be saved.
    pub(super) fn open(state_dir: &Path) -> (Self, Vec<Change>) {
        let path = state_dir.join("revocations.jsonl");
        let (read, is_whole) = read(&path).unwrap_or_else(|error| {
            put_aside(&path, &error.to_string());
            Default::default()
        });
        if let [first, ..] = read.unreadable[..] {
            let count = read.unreadable.len();
            put_aside(
                &path,
                &format!("{count} of its lines are no revocations, the first of them line {first}"),
            );
        }
        let file = match is_whole && read.unreadable.is_empty() {
            true => OpenOptions::new().append(true).open(&path).ok(),
            false => None,
        };
        (Self { path, end: Mutex::new(End { file, lines: read.changes.len() }) }, read.changes)
    }

    /// Whether the file is to be written anew.
    pub(super) fn is_damaged(&self) -> bool {
        self.end.lock().unwrap_or_else(PoisonError::into_inner).file.is_none()
    }

    /// Writes what `unsaved` gives, which may be nothing when whoever came before has written it: as lines behind the
    /// others, or else `all` in their place.
    pub(super) fn save(
        &self,
        unsaved: impl FnOnce() -> Unsaved,
        all: impl FnOnce() -> Vec<Revocation>,
    ) -> io::Result<()> {
        let mut end = self.end.lock().unwrap_or_else(PoisonError::into_inner);
        let Unsaved { changes, live } = unsaved();
        let lines = end.lines + changes.len();
        if let Some(mut file) = end.file.take_if(|_| lines <= 2 * live + HISTORY) {
            if !changes.is_empty() {
                file.write_all(&encode(&changes)?)?;
                file.sync_data()?;
            }
            *end = End { file: Some(file), lines };
            return Ok(());
        }
        end.file = None;
        let all = all();
        let file = replace(&self.path, &encode(&all)?)?;
        *end = End { file: Some(file), lines: all.len() };
        Ok(())
    }
}

#[derive(Default)]
struct Read {
    changes: Vec<Change>,
    /// The numbers of lines that are none.
    unreadable: Vec<usize>,
}

/// What the file says, and whether it ends where a line does.
fn read(path: &Path) -> io::Result<(Read, bool)> {
    let text = match fs::read(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Default::default()),
        Err(error) => return Err(error),
    };
    let whole = text.iter().rposition(|byte| *byte == b'\n').map_or(0, |last| last + 1);
    let mut read = Read::default();
    for (line, number) in text[..whole].split_inclusive(|byte| *byte == b'\n').zip(1..) {
        match serde_json::from_slice(line) {
            Ok(change) => read.changes.push(change),
            Err(_) => read.unreadable.push(number),
        }
    }
    Ok((read, whole == text.len()))
}

fn put_aside(path: &Path, why: &str) {
    let aside = beside(path, "unreadable");
    let kept = fs::rename(path, &aside).is_ok();
    tracing::warn!(
        code = "revocations_unreadable",
        path = %path.display(),
        why,
        kept_as = kept.then(|| aside.display().to_string()),
        "revoked credentials cannot be read: the relay goes on without these, and they serve until they expire; revoke \
         again what must not wait, or rotate the secret"
    );
}

fn encode(changes: &[Change]) -> io::Result<Vec<u8>> {
    let mut text = Vec::with_capacity(changes.len() * 100);
    for change in changes {
        serde_json::to_writer(&mut text, change)?;
        text.push(b'\n');
    }
    Ok(text)
}

/// Written under another name, then put in its place.
fn replace(path: &Path, text: &[u8]) -> io::Result<File> {
    let new = beside(path, "new");
    let mut file = OpenOptions::new().append(true).create(true).open(&new)?;
    file.set_len(0)?;
    file.write_all(text)?;
    file.sync_all()?;
    fs::rename(&new, path)?;
    if let Some(folder) = path.parent() {
        File::open(folder)?.sync_all()?;
    }
    Ok(file)
}

fn beside(path: &Path, extension: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".");
    name.push(extension);
    name.into()
}
