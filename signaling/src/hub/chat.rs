//! Text from one side of a pair to the other. What was delivered is kept by nobody.

use std::{collections::VecDeque, time::Duration};

use serde::{Deserialize, Serialize};
use turnpike_matching::{Id, Membership};

use super::{Hub, State, across::Said};
use crate::contract::{Ack, ChatSend, ErrorCode};

/// A client that asks again after a lost socket has few lines under way.
const REMEMBERED: usize = 32;

/// Ids of the lines that a session has sent lately, so that none is relayed twice.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct SentLines(VecDeque<(String, String)>);

impl SentLines {
    /// False when it was sent before.
    fn is_new(&mut self, pair: Id, id: &str) -> bool {
        let pair = pair.to_string();
        if self.0.iter().any(|(of, known)| *of == pair && known == id) {
            return false;
        }
        if self.0.len() == REMEMBERED {
            self.0.pop_front();
        }
        self.0.push_back((pair, id.to_owned()));
        true
    }
}

impl Hub {
    /// Passes a line of text on to the partner.
    pub(crate) fn chat(&self, id: Id, line: ChatSend) -> Ack {
        let now = self.clock.mono();
        let mut state = self.lock();
        let member = match partner(&state, id, line.pair.0) {
            Ok(member) => member,
            Err(code) => return Ack::refused(code),
        };
        let Some(own) = state.sessions.get_mut(&id) else { return Ack::refused(ErrorCode::NotInPair) };
        if !own.lines.is_new(member.pair, &line.id) {
            return Ack { duplicate: Some(true), ..Ack::done() };
        }
        let said = Said::Chat { id: line.id, text: line.text };
        let counter = match self.pass_on(&mut state, now, id, member, said) {
            true => self.metrics.messages_relayed.with_label_values(&["chat"]),
            false => self.metrics.messages_dropped.with_label_values(&["chat", "slow_client"]),
        };
        counter.inc();
        Ack::done()
    }

    /// Tells the partner that this side writes. One without a socket would hear of it too late to care.
    pub(crate) fn typing(&self, id: Id, pair: Id, on: bool) -> Ack {
        let now: Duration = self.clock.mono();
        let mut state = self.lock();
        let member = match partner(&state, id, pair) {
            Ok(member) => member,
            Err(code) => return Ack::refused(code),
        };
        if state.sessions.get(&member.partner).is_none_or(|theirs| theirs.away.is_none()) {
            self.pass_on(&mut state, now, id, member, Said::Typing { on });
        }
        Ack::done()
    }
}

fn partner(state: &State, id: Id, pair: Id) -> Result<Membership, ErrorCode> {
    let member = state.matching.membership(id).filter(|member| member.pair == pair);
    let member = member.ok_or(ErrorCode::NotInPair)?;
    if member.started { Ok(member) } else { Err(ErrorCode::WrongState) }
}
