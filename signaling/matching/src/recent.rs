//! Whom a session has met lately: the same two are not matched again for a while.

use std::{collections::VecDeque, time::Duration};

use crate::Id;

/// Partners remembered for one session; older ones may be met again earlier.
pub(crate) const REMEMBERED: usize = 16;

/// The last partners of one session, the oldest first.
#[derive(Debug, Default)]
pub(crate) struct Recent {
    partners: VecDeque<(Id, Duration)>,
}

impl Recent {
    pub(crate) fn remember(&mut self, partner: Id, until: Duration) {
        self.partners.retain(|(id, _)| *id != partner);
        if self.partners.len() == REMEMBERED {
            self.partners.pop_front();
        }
        self.partners.push_back((partner, until));
    }

    /// Each partner, and until when it is not met again, the oldest first.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (Id, Duration)> + '_ {
        self.partners.iter().copied()
    }

    /// Until when this partner is not met again.
    pub(crate) fn until(&self, partner: Id, now: Duration) -> Option<Duration> {
        self.partners.iter().find(|(id, until)| *id == partner && *until > now).map(|(_, until)| *until)
    }
}
