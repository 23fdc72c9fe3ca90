//! What concerns every node: a report counts, a block holds and an operator's ban is in force at all of them.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use turnpike_matching::Id;

use super::Hub;
use crate::{
    contract::{Category, WireId},
    moderation::{Ban, Cause, Filed, Person},
};

/// A word to all other nodes. One that an older node does not know is passed over there.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Word {
    Report {
        at: u64,
        pair: WireId,
        category: Category,
        note: String,
        reporter: WireId,
        reporter_network: IpAddr,
        device: Option<WireId>,
        network: IpAddr,
    },
    Apart {
        one: WireId,
        other: WireId,
    },
    Ban {
        id: WireId,
        device: Option<WireId>,
        network: Option<IpAddr>,
        note: String,
        created: u64,
        until: u64,
    },
    Unban {
        id: WireId,
    },
}

impl Hub {
    /// Files a report here and at every other node.
    pub(super) fn file(&self, report: Filed) {
        self.say_to_all(&Word::Report {
            at: report.at,
            pair: WireId(report.pair),
            category: report.category,
            note: report.note.clone(),
            reporter: WireId(report.reporter),
            reporter_network: report.reporter_network,
            device: report.about.device.map(WireId),
            network: report.about.network,
        });
        self.moderation.file(report);
    }

    /// Two people are never matched, by any node; those who are known by more than a session are so for good.
    pub(super) fn part(&self, one: Person, one_session: Id, other: Person, other_session: Id) {
        let (one_party, other_party) =
            (one.device.unwrap_or(one_session), other.device.unwrap_or(other_session));
        if let Some(shared) = &self.lock().shared {
            shared.keep_apart(one_party, other_party);
        }
        if let (Some(blocker), Some(blocked)) = (one.device, other.device) {
            self.moderation.block(blocker, blocked);
        }
        self.lock().matching.keep_apart(one_party, other_party);
        self.say_to_all(&Word::Apart { one: WireId(one_party), other: WireId(other_party) });
    }

    /// A ban of an operator, which holds here, holds at every other node.
    pub(crate) fn ban_everywhere(&self, ban: &Ban) {
        self.say_to_all(&Word::Ban {
            id: WireId(ban.id),
            device: ban.device.map(WireId),
            network: ban.network,
            note: ban.note.clone(),
            created: ban.created,
            until: ban.until,
        });
    }

    /// And ends there.
    pub(crate) fn unban_everywhere(&self, id: Id) {
        self.say_to_all(&Word::Unban { id: WireId(id) });
    }

    /// Takes a word of another node.
    pub(super) fn hear_of_all(&self, word: &str) {
        match serde_json::from_str(word) {
            Ok(Word::Report { at, pair, category, note, reporter, reporter_network, device, network }) => {
                let about = Person { device: device.map(|device| device.0), network };
                let (pair, reporter) = (pair.0, reporter.0);
                self.moderation.file(Filed { at, pair, category, note, reporter, reporter_network, about });
            }
            Ok(Word::Apart { one, other }) => {
                self.lock().matching.keep_apart(one.0, other.0);
                self.moderation.block(one.0, other.0);
            }
            Ok(Word::Ban { id, device, network, note, created, until }) => {
                let device = device.map(|device| device.0);
                let ban = Ban { id: id.0, device, network, cause: Cause::Admin, note, created, until };
                self.moderation.take(&ban);
                self.enforce(&ban);
            }
            Ok(Word::Unban { id }) => self.moderation.lift(id.0),
            Err(error) => tracing::debug!(%error, "a word of another node is not known here"),
        }
    }

    fn say_to_all(&self, word: &Word) {
        let state = self.lock();
        if let Some(shared) = &state.shared {
            shared.tell_all(serde_json::to_string(word).expect("a word is JSON"));
        }
    }
}
