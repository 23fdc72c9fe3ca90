//! Who is never matched with whom: a block that one of them has asked for.

use std::collections::{HashSet, VecDeque};

use crate::Id;

/// Blocks that are remembered; past them the oldest is forgotten.
const REMEMBERED: usize = 200_000;

/// Pairs of people who are kept apart, the oldest first.
#[derive(Debug, Default)]
pub(crate) struct Apart {
    known: HashSet<(Id, Id)>,
    order: VecDeque<(Id, Id)>,
}

impl Apart {
    pub(crate) fn keep(&mut self, one: Id, other: Id) {
        let both = ordered(one, other);
        if self.known.insert(both) {
            self.order.push_back(both);
        }
        if self.order.len() > REMEMBERED
            && let Some(oldest) = self.order.pop_front()
        {
            self.known.remove(&oldest);
        }
    }

    pub(crate) fn are(&self, one: Id, other: Id) -> bool {
        !self.known.is_empty() && self.known.contains(&ordered(one, other))
    }
}

fn ordered(one: Id, other: Id) -> (Id, Id) {
    (one.min(other), one.max(other))
}
