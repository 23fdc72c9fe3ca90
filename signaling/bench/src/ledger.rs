//! Who was paired with whom: every pair has two sides, and they are two.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

/// What strangers have been told of their pairs.
#[derive(Debug, Default)]
pub struct Pairs(HashMap<String, Sides>);

#[derive(Debug, Default)]
struct Sides {
    found: Vec<String>,
    started: usize,
}

/// Pairs that must not be.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wrong {
    /// Three sides and more.
    pub double: usize,
    /// Started for one side alone.
    pub half: usize,
    /// With oneself.
    pub own: usize,
}

impl Pairs {
    /// A stranger has been told of a pair.
    pub fn found(&mut self, pair: &str, session: &str) {
        self.0.entry(pair.to_owned()).or_default().found.push(session.to_owned());
    }

    /// A pair has started for one of its sides.
    pub fn started(&mut self, pair: &str) {
        self.0.entry(pair.to_owned()).or_default().started += 1;
    }

    /// Pairs that started for both.
    pub fn whole(&self) -> usize {
        self.0.values().filter(|sides| sides.started == 2).count()
    }

    /// The wrong ones, when nothing is under way any more.
    pub fn wrong(&self) -> Wrong {
        let mut wrong = Wrong::default();
        for Sides { found, started } in self.0.values() {
            wrong.double += usize::from(found.len() > 2);
            wrong.half += usize::from(*started == 1);
            wrong.own += usize::from(found.len() == 2 && found[0] == found[1]);
        }
        wrong
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrong_pairs_are_told_apart() {
        let mut pairs = Pairs::default();
        for (pair, session) in
            [("right", "a"), ("right", "b"), ("double", "a"), ("double", "b"), ("double", "c")]
        {
            pairs.found(pair, session);
            pairs.started(pair);
        }
        for session in ["d", "d"] {
            pairs.found("own", session);
            pairs.started("own");
        }
        pairs.found("half", "e");
        pairs.found("half", "f");
        pairs.started("half");
        pairs.found("never", "g");
        assert_eq!(pairs.wrong(), Wrong { double: 1, half: 1, own: 1 });
        assert_eq!(pairs.whole(), 2);
    }
}
