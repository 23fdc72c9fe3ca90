//! What one side of a pair says to the other on another node: in order, exactly once, whatever is lost or sent twice on
//! the way.

use std::collections::{BTreeMap, VecDeque};

use serde::{Deserialize, Serialize};

/// Most messages on their way in one direction, and most bytes of them.
const ON_THE_WAY: (usize, usize) = (256, 512 * 1024);
/// After so many messages without an answer the other side is told that they have come.
const ACK_EVERY: u64 = 16;

/// Both directions of one pair, as one node sees them.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Channel {
    sent: u64,
    on_the_way: VecDeque<(u64, String)>,
    bytes: usize,
    received: u64,
    told: u64,
    /// What has overtaken others.
    early: BTreeMap<u64, String>,
}

/// A message with its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Numbered {
    pub(crate) seq: u64,
    /// All up to this one have come.
    pub(crate) ack: u64,
    pub(crate) body: String,
}

/// What became of a message that has come.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Taken {
    /// What can be passed on now.
    pub(crate) bodies: Vec<String>,
    /// Something before it is missing.
    pub(crate) gap: bool,
    /// The other side waits to hear what has come.
    pub(crate) owes_ack: bool,
}

impl Channel {
    /// Takes a message to send; `None` when more is on the way than may be kept.
    pub(crate) fn push(&mut self, body: String) -> Option<Numbered> {
        if self.on_the_way.len() == ON_THE_WAY.0 || self.bytes + body.len() > ON_THE_WAY.1 {
            return None;
        }
        self.sent += 1;
        self.bytes += body.len();
        self.on_the_way.push_back((self.sent, body.clone()));
        Some(Numbered { seq: self.sent, ack: self.ack(), body })
    }

    /// Takes a message that has come.
    pub(crate) fn take(&mut self, message: Numbered) -> Taken {
        self.acked(message.ack);
        let mut taken = Taken::default();
        if message.seq <= self.received {
            taken.owes_ack = true;
            return taken;
        }
        if self.early.len() < ON_THE_WAY.0 {
            self.early.insert(message.seq, message.body);
        }
        while let Some(body) = self.early.remove(&(self.received + 1)) {
            self.received += 1;
            taken.bodies.push(body);
        }
        taken.gap = !self.early.is_empty();
        taken.owes_ack = self.received >= self.told + ACK_EVERY;
        taken
    }

    /// The other side has all up to this one.
    pub(crate) fn acked(&mut self, seq: u64) {
        while let Some((_, body)) = self.on_the_way.pop_front_if(|(sent, _)| *sent <= seq) {
            self.bytes -= body.len();
        }
    }

    /// What has come, to be told to the other side.
    pub(crate) fn ack(&mut self) -> u64 {
        self.told = self.received;
        self.received
    }

    /// All that may not have come.
    pub(crate) fn again(&mut self) -> Vec<Numbered> {
        let ack = self.ack();
        self.on_the_way.iter().map(|(seq, body)| Numbered { seq: *seq, ack, body: body.clone() }).collect()
    }

    /// Something may be missing on the other side.
    pub(crate) fn is_waiting(&self) -> bool {
        !self.on_the_way.is_empty()
    }

    /// Both ends are in one hand: what this end has yet to pass on, and the other.
    pub(crate) fn meet(self, other: Self) -> (Vec<String>, Vec<String>) {
        let (here, there) = (self.received, other.received);
        let missing = |sent: VecDeque<(u64, String)>, received: u64| {
            sent.into_iter().filter(|(seq, _)| *seq > received).map(|(_, body)| body).collect()
        };
        (missing(other.on_the_way, here), missing(self.on_the_way, there))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_lost_overtaken_or_sent_twice_comes_once_and_in_order() {
        let (mut a, mut b) = (Channel::default(), Channel::default());
        let sent: Vec<Numbered> = (1..=5).map(|n| a.push(n.to_string()).unwrap()).collect();
        assert_eq!(b.take(sent[0].clone()).bodies, ["1"]);
        let overtaking = b.take(sent[3].clone());
        assert!(overtaking.gap && overtaking.bodies.is_empty());
        assert!(b.take(sent[0].clone()).owes_ack, "one that has come is told again");
        a.acked(b.ack());
        let mut came = Vec::new();
        for message in a.again() {
            came.extend(b.take(message).bodies);
        }
        assert_eq!(came, ["2", "3", "4", "5"]);
        a.acked(b.ack());
        assert!(!a.is_waiting());
    }

    #[test]
    fn more_than_may_be_on_the_way_is_refused_until_some_has_come() {
        let mut a = Channel::default();
        (0..ON_THE_WAY.0).for_each(|_| assert!(a.push("x".to_owned()).is_some()));
        assert_eq!(a.push("x".to_owned()), None);
        a.acked(1);
        assert!(a.push("x".to_owned()).is_some());
        assert_eq!(a.push("x".repeat(ON_THE_WAY.1)), None);
    }

    #[test]
    fn every_sixteenth_message_owes_an_answer() {
        let (mut a, mut b) = (Channel::default(), Channel::default());
        let owes: Vec<bool> = (1..=40)
            .map(|n: u32| {
                let taken = b.take(a.push(n.to_string()).unwrap());
                if taken.owes_ack {
                    a.acked(b.ack());
                }
                taken.owes_ack
            })
            .collect();
        assert_eq!(owes.iter().filter(|owes| **owes).count(), 2);
        assert_eq!(a.on_the_way.len(), 8);
    }
}
