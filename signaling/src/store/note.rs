//! What nodes and Redis say to each other.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use turnpike_matching::{Ended, Id, Wishes};

use crate::contract::WireId;

/// A message in a node's stream. Those that a newer node has more to say with are passed over by an older one.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Note {
    /// A pair was made.
    Found {
        pair: WireId,
        initiator: WireId,
        responder: WireId,
        /// Of the initiator, of the responder.
        nodes: [WireId; 2],
        #[serde(default)]
        common: Vec<String>,
    },
    /// Both sides have accepted.
    Start { pair: WireId },
    /// A pair has ended at the other node.
    Ended { pair: WireId, reason: Reason },
    /// One side says something to the other.
    Say { pair: WireId, node: WireId, seq: u64, ack: u64, body: String },
    /// All up to this one have come.
    Ack { pair: WireId, ack: u64 },
    /// The pair goes on at this node; all up to this one have come: send the rest again.
    Sync { pair: WireId, node: WireId, ack: u64 },
    /// The other side goes on at this node.
    Moved { pair: WireId, node: WireId },
    /// The other side's node stops; its client will come back to some node.
    Gone { pair: WireId },
    /// A client of this session has come to that node.
    Claim { resume: WireId, node: WireId, ticket: u64 },
    /// The answer: the session, when it is there.
    Handed { ticket: u64, session: Option<String> },
    /// Something that concerns every node.
    ToAll { what: String },
    /// A node tells itself that it reads.
    Beat,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Reason {
    Next,
    Left,
    Lost,
    Expired,
    Reported,
    Quota,
    Admin,
}

impl From<Ended> for Reason {
    fn from(ended: Ended) -> Self {
        match ended {
            Ended::Next => Self::Next,
            Ended::Left => Self::Left,
            Ended::Lost => Self::Lost,
            Ended::Expired => Self::Expired,
            Ended::Reported => Self::Reported,
            Ended::Quota => Self::Quota,
            Ended::Admin => Self::Admin,
        }
    }
}

impl From<Reason> for Ended {
    fn from(reason: Reason) -> Self {
        match reason {
            Reason::Next => Self::Next,
            Reason::Left => Self::Left,
            Reason::Lost => Self::Lost,
            Reason::Expired => Self::Expired,
            Reason::Reported => Self::Reported,
            Reason::Quota => Self::Quota,
            Reason::Admin => Self::Admin,
        }
    }
}

/// A session that a node which stops leaves to any other.
#[derive(Debug)]
pub(crate) struct Left {
    pub(crate) resume: Id,
    pub(crate) state: String,
}

/// What is to be done in Redis; in order.
#[derive(Debug)]
pub(crate) enum Command {
    Seek {
        session: Id,
        wishes: Wishes,
        waited: Duration,
        widened: bool,
        /// And for how long they do not meet.
        recent: Vec<(Id, Duration)>,
        last_pair: Option<Id>,
        /// Whose session it is.
        party: Id,
        /// The id of a pair that comes of it.
        pair: Id,
    },
    Withdraw {
        session: Id,
    },
    Accept {
        session: Id,
        pair: Id,
    },
    End {
        session: Id,
        pair: Id,
        partner: Id,
        node: Option<Id>,
        reason: Reason,
    },
    Tell {
        node: Id,
        note: Note,
    },
    /// Every other node is told.
    TellAll {
        note: Note,
    },
    /// Two people who are never matched, by any node.
    KeepApart {
        one: Id,
        other: Id,
    },
    /// Which of these nodes live?
    Alive {
        nodes: Vec<Id>,
    },
    Own {
        session: Id,
        resume: Id,
        /// The pair, and the partner whose node is not known.
        partner: Option<(Id, Id)>,
    },
    Disown {
        session: Id,
        resume: Id,
    },
    Claim {
        resume: Id,
        ticket: u64,
    },
    Leave {
        left: Left,
        life: Duration,
    },
    /// Answered once all before it is done.
    Flush {
        done: tokio::sync::oneshot::Sender<()>,
    },
}

/// What is new from Redis.
#[derive(Debug)]
pub(crate) enum News {
    /// It is there.
    Up,
    /// It is not.
    Down,
    /// Some seconds have passed.
    Beat,
    /// In this node's stream.
    Note(Note),
    /// A session waits, and may look again after this time.
    Waits { session: Id, again: Duration },
    /// A node lives no more.
    Dead { node: Id },
    /// The partner in this pair is at that node.
    Owner { pair: Id, node: Id },
    /// No other node has that session.
    Unknown { ticket: u64 },
    /// One that a node has left behind.
    Taken { ticket: u64, session: String },
}
