//! Who waits, by interest and by age.

use std::{
    collections::{BTreeMap, HashMap},
    time::Duration,
};

use crate::Id;

/// What a stranger came for; the two of a pair came for the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Mode {
    /// A video call.
    Video,
    /// Text alone.
    Text,
}

impl Mode {
    /// Every one.
    pub const ALL: [Self; 2] = [Self::Video, Self::Text];

    /// As it is written.
    pub fn name(self) -> &'static str {
        match self {
            Self::Video => "video",
            Self::Text => "text",
        }
    }
}

/// Whom a session looks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wishes {
    /// What for.
    pub mode: Mode,
    /// In comparable form: trimmed, lower case, each once.
    pub interests: Vec<String>,
}

/// The place in the queue: the time of the first join, then the order of joins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place {
    pub(crate) since: Duration,
    pub(crate) turn: u64,
}

type Line = BTreeMap<Place, Id>;

/// The waiting sessions. Each is in the line of each of its interests, and in the open line once interests no longer
/// matter to it.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    by_interest: HashMap<(Mode, String), Line>,
    open: HashMap<Mode, Line>,
    /// In the order of [`Mode::ALL`].
    waiting: [usize; 2],
}

impl Queue {
    pub(crate) fn insert(&mut self, id: Id, place: Place, wishes: &Wishes, open: bool) {
        self.waiting[wishes.mode as usize] += 1;
        for interest in &wishes.interests {
            self.by_interest.entry((wishes.mode, interest.clone())).or_default().insert(place, id);
        }
        if open {
            self.widen(id, place, wishes.mode);
        }
    }

    pub(crate) fn widen(&mut self, id: Id, place: Place, mode: Mode) {
        self.open.entry(mode).or_default().insert(place, id);
    }

    pub(crate) fn remove(&mut self, place: Place, wishes: &Wishes) {
        self.waiting[wishes.mode as usize] -= 1;
        for interest in &wishes.interests {
            let key = (wishes.mode, interest.clone());
            if let Some(line) = self.by_interest.get_mut(&key) {
                line.remove(&place);
                if line.is_empty() {
                    self.by_interest.remove(&key);
                }
            }
        }
        if let Some(line) = self.open.get_mut(&wishes.mode) {
            line.remove(&place);
        }
    }

    pub(crate) fn waiting(&self, mode: Mode) -> usize {
        self.waiting[mode as usize]
    }

    /// Those who share an interest, the oldest of each line first, `most` of each.
    pub(crate) fn sharing<'a>(
        &'a self,
        wishes: &'a Wishes,
        most: usize,
    ) -> impl Iterator<Item = (Place, Id)> + 'a {
        let lines = wishes
            .interests
            .iter()
            .filter_map(|interest| self.by_interest.get(&(wishes.mode, interest.clone())));
        lines.flat_map(move |line| line.iter().take(most).map(|(place, id)| (*place, *id)))
    }

    /// Those to whom interests do not matter, the oldest first.
    pub(crate) fn open(&self, mode: Mode) -> impl Iterator<Item = (Place, Id)> + '_ {
        self.open.get(&mode).into_iter().flatten().map(|(place, id)| (*place, *id))
    }
}
