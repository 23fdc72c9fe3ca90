//! What a process that ends leaves to the next: sessions, their events that may have been missed, and their pairs.
//!
//! Times are in Unix milliseconds, since clocks of their own do not outlive a process.

use std::{mem, net::IpAddr, time::Duration};

use rand::Rng as _;
use serde::{Deserialize, Serialize};
use turnpike_matching::{KeptPair, KeptSession, Mode, Wishes};

use super::{
    Bucket, Call, EVENTS, Hub, NEXTS, Session, State,
    chat::SentLines,
    moderated::Partners,
    negotiation::Negotiation,
    outbox::{KeptOutbox, Outbox},
    presence::Away,
};
use crate::contract::{Privacy, ServerEvent, WireId};

/// When clients of a node that is started anew come back, in milliseconds.
const RECONNECT_MS: std::ops::Range<u64> = 500..4_000;

/// All that is left.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Handover {
    pub(crate) at: u64,
    sessions: Vec<LeftSession>,
    pairs: Vec<LeftPair>,
}

#[derive(Debug, Serialize, Deserialize)]
struct LeftSession {
    id: WireId,
    token: WireId,
    resume: WireId,
    source: IpAddr,
    #[serde(default)]
    device: Option<WireId>,
    privacy: Privacy,
    next_signal: u64,
    negotiation: Negotiation,
    lines: SentLines,
    outbox: KeptOutbox,
    waiting: Option<u64>,
    wishes: Option<LeftWishes>,
    recent: Vec<(WireId, u64)>,
}

#[derive(Debug, Serialize, Deserialize)]
struct LeftWishes {
    text: bool,
    interests: Vec<String>,
}

#[derive(Debug, Serialize, Deserialize)]
struct LeftPair {
    id: WireId,
    initiator: WireId,
    responder: WireId,
    call: Call,
    started: Option<u64>,
}

/// How much has been taken back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TakenBack {
    pub(crate) sessions: usize,
    pub(crate) pairs: usize,
}

impl Handover {
    pub(crate) fn is_empty(&self) -> bool {
        self.sessions.is_empty()
    }

    pub(crate) fn size(&self) -> TakenBack {
        TakenBack { sessions: self.sessions.len(), pairs: self.pairs.len() }
    }
}

impl Hub {
    /// Ends this node's part: offers end, all are told to come back, sockets close, and nothing is taken in any more.
    pub(crate) fn hand_over(&self) -> Handover {
        self.step(|state, now, next_pair| state.matching.halt(now, next_pair));
        let now = self.clock.mono();
        let mut state = self.lock();
        // A node that drains has told them already.
        let untold = state.sessions.keys().copied().filter(|_| !state.draining);
        for id in untold.collect::<Vec<_>>() {
            let reconnect_in_ms = rand::rng().random_range(RECONNECT_MS);
            self.emit(&mut state, now, id, &ServerEvent::Notice { kind: "draining", reconnect_in_ms });
        }
        let mut left = mem::replace(&mut *state, State::new(self.rules));
        state.draining = true;
        state.matching.drain();
        drop(state);
        let (sessions, pairs) = left.matching.kept();
        let pairs = pairs.into_iter().filter_map(|kept| self.leave_pair_behind(&mut left, kept)).collect();
        let sessions = sessions.into_iter().filter_map(|kept| self.leave_behind(&mut left, kept)).collect();
        Handover { at: self.clock.unix().as_millis() as u64, sessions, pairs }
    }

    /// Goes on with what another process has left: each session waits for its client.
    pub(crate) fn take_back(&self, handover: Handover) -> TakenBack {
        self.step(|state, now, _| {
            let mut taken = TakenBack { sessions: 0, pairs: 0 };
            for session in handover.sessions {
                taken.sessions += usize::from(self.take_back_session(state, now, session));
            }
            for pair in handover.pairs {
                taken.pairs += usize::from(self.take_back_pair(state, pair));
            }
            taken
        })
    }

    /// What another process has left too long ago: its pairs are over.
    pub(crate) fn refuse(&self, handover: Handover) {
        for pair in handover.pairs {
            self.tell_relay(pair.id.0, &pair.call);
        }
    }

    fn leave_behind(&self, left: &mut State, kept: KeptSession) -> Option<LeftSession> {
        let session = left.sessions.remove(&kept.session)?;
        session.outbox.close();
        Some(LeftSession {
            id: WireId(kept.session),
            token: WireId(session.token),
            resume: WireId(session.resume),
            source: session.source,
            device: session.device.map(WireId),
            privacy: session.privacy,
            next_signal: session.next_signal,
            negotiation: session.negotiation,
            lines: session.lines,
            outbox: session.outbox.into_kept()?,
            waiting: kept.waiting.map(|since| self.to_unix(since)),
            wishes: kept
                .wishes
                .map(|wishes| LeftWishes { text: wishes.mode == Mode::Text, interests: wishes.interests }),
            recent: kept.recent.into_iter().map(|(id, until)| (WireId(id), self.to_unix(until))).collect(),
        })
    }

    fn leave_pair_behind(&self, left: &mut State, kept: KeptPair) -> Option<LeftPair> {
        let call = left.calls.remove(&kept.pair)?;
        let started = call.started().map(|at| self.to_unix(at));
        let [id, initiator, responder] = [kept.pair, kept.initiator, kept.responder].map(WireId);
        Some(LeftPair { id, initiator, responder, call, started })
    }

    /// False where its address has too many already.
    fn take_back_session(&self, state: &mut State, now: Duration, left: LeftSession) -> bool {
        let Some(place) = self.absent.enter(left.source) else { return false };
        let mode = |wishes: &LeftWishes| if wishes.text { Mode::Text } else { Mode::Video };
        let waits_since = left.waiting.map(|since| self.to_mono(since));
        let id = left.id.0;
        state.matching.take_back(KeptSession {
            session: id,
            waiting: waits_since,
            wishes: left.wishes.map(|wishes| Wishes::new(mode(&wishes), wishes.interests)),
            recent: left.recent.into_iter().map(|(id, until)| (id.0, self.to_mono(until))).collect(),
        });
        if let Some(device) = left.device {
            state.matching.introduce(id, device.0);
        }
        state.by_token.insert(left.token.0, id);
        state.by_resume.insert(left.resume.0, id);
        let away = Away::new(now, self.pair_grace, self.resume_for, place);
        state.absences.look_at(away.next(), id);
        let session = Session {
            outbox: Outbox::from_kept(now, left.outbox),
            token: left.token.0,
            resume: left.resume.0,
            source: left.source,
            device: left.device.map(|device| device.0),
            partners: Partners::default(),
            away: Some(away),
            privacy: left.privacy,
            events: Bucket::new(EVENTS.0, EVENTS.1),
            nexts: Bucket::new(NEXTS.0, NEXTS.1),
            next_signal: left.next_signal,
            negotiation: left.negotiation,
            lines: left.lines,
            waits_since,
        };
        state.sessions.insert(id, session);
        true
    }

    fn take_back_pair(&self, state: &mut State, left: LeftPair) -> bool {
        let LeftPair { mut call, started, .. } = left;
        let [id, initiator, responder] = [left.id, left.initiator, left.responder].map(|id| id.0);
        if !state.matching.take_back_pair(KeptPair { pair: id, initiator, responder }) {
            self.tell_relay(id, &call);
            return false;
        }
        if let Some(started) = started {
            call.start(self.to_mono(started));
        }
        state.calls.insert(id, call);
        Self::have_met(state, id);
        true
    }

    pub(super) fn to_unix(&self, mono: Duration) -> u64 {
        let (unix, now) = (self.clock.unix(), self.clock.mono());
        (unix + mono).saturating_sub(now).as_millis() as u64
    }

    fn to_mono(&self, unix: u64) -> Duration {
        let (now, mono) = (self.clock.unix(), self.clock.mono());
        (mono + Duration::from_millis(unix)).saturating_sub(now)
    }
}
