//! Credentials that are refused before their time, by subject, pair or credential, each until a moment of its own.
//!
//! Looked at for each Allocate. The list is bounded, and a file in the state folder carries it over a restart.

mod journal;

use std::{
    collections::{BTreeSet, HashMap},
    io, mem,
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use turnpike_proto::Now;
use turnpike_relay_api::{admin::Revocation, target::Target};

use self::journal::{Change, Journal, TAKEN_BACK, Unsaved};

/// Most revocations at a time, some 100 bytes each: at the usual credential of ten minutes, 109 pairs that end each second.
const MOST: usize = 65_536;
/// How often it is told that the list is full.
const TELL_EVERY: Duration = Duration::from_secs(60);

/// The revocations of one node.
#[derive(Debug)]
pub(crate) struct Revocations {
    list: Mutex<List>,
    journal: Journal,
}

#[derive(Debug, Default)]
struct List {
    until: HashMap<Arc<Target>, u64>,
    /// The same, the soonest to expire first.
    by_expiry: BTreeSet<(u64, Arc<Target>)>,
    /// Changes that are not in the journal yet.
    unsaved: Vec<Change>,
    /// Revocations that went before their time because the list was full.
    forgotten: u64,
    told: u64,
    tell_at: Duration,
}

impl Revocations {
    /// What the state folder holds, less what is over. What cannot be read of it is told and left out: a relay without
    /// its revocations is better than none.
    pub(crate) fn load(state_dir: &Path, unix: u64) -> Self {
        let (journal, changes) = Journal::open(state_dir);
        let mut list = List::default();
        for Revocation { target, until } in changes {
            match until {
                TAKEN_BACK => _ = list.remove(&target),
                over if over <= unix => {}
                until => _ = list.insert(target, until),
            }
        }
        list.unsaved.clear();
        let revocations = Self { list: Mutex::new(list), journal };
        if revocations.journal.is_damaged() && revocations.len() > 0 {
            // Else the next change tells what is wrong.
            let _ = revocations.save();
        }
        revocations
    }

    /// Whether the credentials of a subject are refused.
    pub(crate) fn cover(&self, subject: &str, unix: u64) -> bool {
        let list = self.list();
        !list.until.is_empty()
            && Target::all_of(subject)
                .any(|target| list.until.get(&target).is_some_and(|until| *until > unix))
    }

    /// Refuses a target until then, or until later where that was said before; tells until when.
    pub(crate) fn insert(&self, target: Target, until: u64) -> u64 {
        self.list().insert(target, until)
    }

    /// Takes a revocation back; false when there was none.
    pub(crate) fn remove(&self, target: &Target) -> bool {
        self.list().remove(target)
    }

    /// Writes what has changed to the journal, unless whoever came before has just done so; blocks.
    ///
    /// # Errors
    /// Of the file system.
    pub(crate) fn save(&self) -> io::Result<()> {
        let unsaved = || {
            let mut list = self.list();
            Unsaved { changes: mem::take(&mut list.unsaved), live: list.until.len() }
        };
        self.journal.save(unsaved, || self.all())
    }

    /// All of them, the soonest to expire first.
    pub(crate) fn all(&self) -> Vec<Revocation> {
        self.list().all()
    }

    pub(crate) fn len(&self) -> usize {
        self.list().until.len()
    }

    /// How many went before their time because the list was full.
    pub(crate) fn forgotten(&self) -> u64 {
        self.list().forgotten
    }

    /// Forgets what is over, and tells now and then what went too early.
    pub(crate) fn sweep(&self, now: Now) {
        let mut list = self.list();
        while list.by_expiry.first().is_some_and(|(until, _)| *until <= now.unix) {
            list.drop_first();
        }
        if list.forgotten > list.told && now.mono >= list.tell_at {
            tracing::warn!(
                code = "revocations_full",
                forgotten = list.forgotten - list.told,
                most = MOST,
                "the list of revocations is full: those that would have expired soonest were dropped, and their \
                 credentials serve again until they expire; a shorter auth.credential_ttl keeps the list short"
            );
            list.told = list.forgotten;
            list.tell_at = now.mono + TELL_EVERY;
        }
    }

    fn list(&self) -> MutexGuard<'_, List> {
        self.list.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl List {
    fn insert(&mut self, target: Target, until: u64) -> u64 {
        if let Some(already) = self.until.get(&target).copied().filter(|already| *already >= until) {
            return already;
        }
        self.forget(&target);
        if self.until.len() >= MOST {
            self.drop_first();
            self.forgotten += 1;
        }
        let target = Arc::new(target);
        self.unsaved.push(Change { target: (*target).clone(), until });
        self.by_expiry.insert((until, Arc::clone(&target)));
        self.until.insert(target, until);
        until
    }

    fn remove(&mut self, target: &Target) -> bool {
        let was_there = self.forget(target);
        if was_there {
            self.unsaved.push(Change { target: target.clone(), until: TAKEN_BACK });
        }
        was_there
    }

    fn forget(&mut self, target: &Target) -> bool {
        let Some((target, until)) = self.until.remove_entry(target) else { return false };
        self.by_expiry.remove(&(until, target))
    }

    fn drop_first(&mut self) {
        if let Some((_, target)) = self.by_expiry.pop_first() {
            self.until.remove(&target);
        }
    }

    fn all(&self) -> Vec<Revocation> {
        let of =
            |(until, target): &(u64, Arc<Target>)| Revocation { target: (**target).clone(), until: *until };
        self.by_expiry.iter().map(of).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::MetadataExt as _};

    use super::*;

    fn subject(name: impl ToString) -> Target {
        Target::Subject(name.to_string())
    }

    fn empty() -> (tempfile::TempDir, Revocations) {
        let folder = tempfile::tempdir().unwrap();
        let revocations = Revocations::load(folder.path(), 0);
        (folder, revocations)
    }

    fn sweep(revocations: &Revocations, unix: u64) {
        revocations.sweep(Now { mono: Duration::ZERO, unix });
    }

    #[test]
    fn a_revocation_holds_until_its_moment_and_the_later_one_counts() {
        let (_folder, revocations) = empty();
        assert!(!revocations.cover("a", 0));
        assert_eq!(revocations.insert(subject("a"), 100), 100);
        assert_eq!(revocations.insert(subject("a"), 50), 100);
        for (unix, refused) in [(0, true), (99, true), (100, false)] {
            assert_eq!(revocations.cover("a", unix), refused, "{unix}");
            assert_eq!(revocations.cover("a.CCCCCCCCCCCC", unix), refused, "{unix}");
        }
        assert!(!revocations.cover("b", 0));
        assert_eq!(revocations.insert(subject("a"), 200), 200);
        sweep(&revocations, 199);
        assert_eq!(revocations.len(), 1);
        sweep(&revocations, 200);
        assert_eq!(revocations.len(), 0);
    }

    #[test]
    fn what_is_taken_back_is_let_in_again() {
        let (_folder, revocations) = empty();
        revocations.insert(subject("a"), 100);
        assert!(!revocations.remove(&subject("b")));
        assert!(revocations.remove(&subject("a")));
        assert!(!revocations.cover("a", 0) && !revocations.remove(&subject("a")));
    }

    #[test]
    fn a_full_list_drops_what_expires_soonest_and_counts_it() {
        let (_folder, revocations) = empty();
        for n in 0..MOST as u64 {
            revocations.insert(subject(n), 1_000_000 + n);
        }
        assert_eq!(revocations.forgotten(), 0);
        revocations.insert(subject("late"), 5_000_000);
        revocations.insert(subject("late"), 6_000_000);
        assert_eq!((revocations.len(), revocations.forgotten()), (MOST, 1));
        assert!(!revocations.cover("0", 0), "the soonest to expire is gone");
        assert!(revocations.cover("1", 0) && revocations.cover("late", 0));
        assert_eq!(revocations.list().by_expiry.len(), MOST);
    }

    #[test]
    fn a_restart_finds_what_was_saved_and_is_not_over() {
        let (folder, revocations) = empty();
        let targets = [subject("@a.b:example.org"), Target::Pair("p".into()), Target::Credential("c".into())];
        for (n, target) in targets.iter().enumerate() {
            revocations.insert(target.clone(), 100 + n as u64);
        }
        revocations.save().unwrap();
        let expected: Vec<Revocation> = revocations.all();
        assert_eq!(Revocations::load(folder.path(), 0).all(), expected);
        assert_eq!(Revocations::load(folder.path(), 100).all(), expected[1..]);
        assert!(revocations.remove(&targets[1]));
        revocations.save().unwrap();
        assert_eq!(Revocations::load(folder.path(), 0).len(), 2);
        let left: Vec<_> =
            fs::read_dir(folder.path()).unwrap().map(|file| file.unwrap().file_name()).collect();
        assert_eq!(left, ["revocations.jsonl"], "no half-written file is left behind");
    }

    #[test]
    fn a_save_adds_lines_and_a_file_of_history_is_written_anew() {
        let (folder, revocations) = empty();
        let path = folder.path().join("revocations.jsonl");
        let (mut rewritten, mut size, mut file) = (0, 0, None);
        for n in 0..10_000 {
            revocations.insert(subject(n), 100 + n);
            sweep(&revocations, 95 + n);
            if n % 10 == 0 {
                revocations.save().unwrap();
                let now = fs::metadata(&path).unwrap();
                match file == Some(now.ino()) {
                    true => assert!(now.len() > size, "only added to"),
                    false => rewritten += 1,
                }
                (size, file) = (now.len(), Some(now.ino()));
                assert!(size < 500_000, "{size}");
            }
        }
        assert_eq!(rewritten, 3, "the first, and one every 4,096 lines of history");
        assert_eq!(Revocations::load(folder.path(), 10_080).len(), 10);
    }

    #[test]
    fn what_is_no_line_is_put_aside_and_all_others_hold() {
        let good = |name: &str| format!("{{\"subject\":\"{name}\",\"until\":100}}\n");
        for broken in ["\n", "{\n", "{\"until\": 5}\n", "\0\n", "[]\n", "\u{e9}\n"] {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("revocations.jsonl");
            let text = good("a") + broken + &good("b");
            fs::write(&path, &text).unwrap();
            for _ in 0..2 {
                let revocations = Revocations::load(folder.path(), 0);
                assert!(revocations.cover("a", 0) && revocations.cover("b", 0), "{broken:?}");
            }
            let aside = folder.path().join("revocations.jsonl.unreadable");
            assert_eq!(fs::read_to_string(aside).unwrap(), text);
            assert_eq!(fs::read_to_string(path).unwrap(), good("a") + &good("b"));
        }
    }

    #[test]
    fn a_line_that_was_cut_off_is_left_out_and_the_next_one_is_whole() {
        let (folder, revocations) = empty();
        revocations.insert(subject("a"), 100);
        revocations.insert(subject("b"), 100);
        revocations.save().unwrap();
        let path = folder.path().join("revocations.jsonl");
        let text = fs::read(&path).unwrap();
        for cut in text.len() / 2..text.len() {
            fs::write(&path, &text[..cut]).unwrap();
            let revocations = Revocations::load(folder.path(), 0);
            assert_eq!(revocations.all(), [Revocation { target: subject("a"), until: 100 }], "{cut}");
            revocations.insert(subject("c"), 100);
            revocations.save().unwrap();
            assert_eq!(Revocations::load(folder.path(), 0).len(), 2, "{cut}");
        }
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "nothing is put aside for it");
    }

    #[test]
    fn what_could_not_be_written_is_written_later() {
        let folder = tempfile::tempdir().unwrap();
        let state = folder.path().join("state");
        let away = Revocations::load(&state, 0);
        away.insert(subject("a"), 100);
        away.save().unwrap_err();
        fs::create_dir(&state).unwrap();
        away.insert(subject("b"), 100);
        away.save().unwrap();
        assert_eq!(Revocations::load(&state, 0).len(), 2);
    }

    #[test]
    fn many_at_once_are_all_saved_when_each_has_returned() {
        let (folder, revocations) = empty();
        std::thread::scope(|scope| {
            for thread in 0..4 {
                let (revocations, folder) = (&revocations, folder.path());
                scope.spawn(move || {
                    for n in 0..20 {
                        let name = format!("{thread}-{n}");
                        revocations.insert(subject(&name), 100);
                        revocations.save().unwrap();
                        assert!(Revocations::load(folder, 0).cover(&name, 0), "{name}");
                    }
                });
            }
        });
        assert_eq!(Revocations::load(folder.path(), 0).len(), 80);
    }
}
