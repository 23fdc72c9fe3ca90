//! What a process that ends leaves to the next: sessions, their events that may have been missed, and their pairs.
//!
//! Times are in Unix milliseconds, since clocks of their own do not outlive a process.

use std::{collections::HashMap, mem, net::IpAddr, sync::atomic::Ordering, time::Duration};

use rand::Rng as _;
use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;
use turnpike_matching::{Id, KeptPair, KeptSession, Mode, Role, Wishes};

use super::{
    Bucket, Call, EVENTS, Hub, NEXTS, NextPair, Session, State,
    chat::SentLines,
    moderated::Partners,
    negotiation::Negotiation,
    outbox::{KeptOutbox, Outbox},
    presence::Away,
};
use crate::{
    contract::{Privacy, ServerEvent, WireId},
    moderation::Person,
    store::{Left, Passage},
};

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
    /// The pair, the partner and who that is, on the way to another node.
    #[serde(default)]
    partner: Option<(WireId, WireId, Option<WireId>, IpAddr)>,
    privacy: Privacy,
    next_signal: u64,
    negotiation: Negotiation,
    #[serde(default)]
    theirs: Negotiation,
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

#[derive(Debug, Clone, Serialize, Deserialize)]
struct LeftPair {
    id: WireId,
    initiator: WireId,
    responder: WireId,
    call: Call,
    started: Option<u64>,
}

/// A session on its way to another node, with its side of a pair.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Traveller {
    session: LeftSession,
    pair: Option<LeftPair>,
    passage: Option<Passage>,
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
        self.over.store(true, Ordering::Release);
        self.step(|state, now, next_pair| state.matching.halt(now, next_pair));
        let now = self.clock.mono();
        let mut state = self.lock();
        self.call_back(&mut state, now);
        let (mut left, sessions, pairs) = self.empty(&mut state);
        drop(state);
        // The other side of a pair across nodes is out of reach of a file.
        let pairs = pairs.into_iter().filter(|pair| pair.elsewhere.is_none());
        let pairs = pairs.filter_map(|kept| self.leave_pair_behind(&mut left, kept)).collect();
        let sessions = sessions.into_iter().filter_map(|kept| self.leave_behind(&mut left, kept)).collect();
        Handover { at: self.clock.unix().as_millis() as u64, sessions, pairs }
    }

    /// Ends this node's part as [`Self::hand_over`] does, and leaves each session to whatever node its client comes to.
    /// Resolves once it is told.
    pub(super) fn leave_behind_for_any(&self) -> oneshot::Receiver<()> {
        self.over.store(true, Ordering::Release);
        self.step(|state, now, next_pair| state.matching.halt(now, next_pair));
        let now = self.clock.mono();
        let mut state = self.lock();
        self.call_back(&mut state, now);
        let (mut left, sessions, pairs) = self.empty(&mut state);
        let mut shared = left.shared.take().expect("what is shared is left");
        let mut departing = HashMap::new();
        for kept in pairs {
            let (session, partner) = match kept.elsewhere {
                Some(Role::Initiator) => (kept.responder, Some(kept.initiator)),
                Some(Role::Responder) => (kept.initiator, Some(kept.responder)),
                None => (kept.initiator, None),
            };
            let Some(pair) = self.leave_pair_behind(&mut left, kept) else { continue };
            match partner {
                Some(partner) => {
                    let passage = shared.depart(kept.pair, partner, None, false);
                    departing.insert(session, (pair, passage));
                }
                None => {
                    for [one, other] in [[kept.initiator, kept.responder], [kept.responder, kept.initiator]] {
                        let theirs = Self::negotiations(&mut left, one, other);
                        if let Some(session) = left.sessions.get_mut(&one) {
                            session.theirs = theirs;
                        }
                        departing.insert(one, (pair.clone(), Passage::default()));
                    }
                }
            }
        }
        for kept in sessions {
            let Some(session) = self.leave_behind(&mut left, kept) else { continue };
            let resume = session.resume.0;
            let (pair, passage) = departing.remove(&session.id.0).unzip();
            let state = serde_json::to_string(&Traveller { session, pair, passage });
            if let Ok(state) = state {
                shared.leave(Left { resume, state }, self.resume_for);
            }
        }
        let flushed = shared.flush();
        state.shared = Some(shared);
        flushed
    }

    /// A session goes to the node that its client has come to; `None` when there is nothing to go on with.
    pub(super) fn depart(
        &self,
        state: &mut State,
        now: Duration,
        resume: Id,
        to: Id,
        next_pair: &mut NextPair,
    ) -> Option<Traveller> {
        let id = *state.by_resume.get(&resume)?;
        if state.sessions.get(&id).is_none_or(|session| session.outbox.is_torn()) {
            self.end(state, now, id, next_pair);
            return None;
        }
        state.matching.away(now, id, next_pair);
        self.make_all_known(state, now);
        let (kept, pair) = state.matching.hand_away(now, id, next_pair)?;
        let mut gone = None;
        if let Some(pair) = pair {
            let partner = if pair.initiator == id { pair.responder } else { pair.initiator };
            let theirs = Self::negotiations(state, id, partner);
            if let Some(session) = state.sessions.get_mut(&id) {
                session.theirs = theirs;
            }
            let here = state.sessions.contains_key(&partner);
            let call =
                if here { state.calls.get(&pair.pair).cloned() } else { state.calls.remove(&pair.pair) };
            let started = call.as_ref().and_then(Call::started).map(|at| self.to_unix(at));
            let passage = state.shared.as_mut()?.depart(pair.pair, partner, Some(to), here);
            let [pair, initiator, responder] = [pair.pair, pair.initiator, pair.responder].map(WireId);
            gone = call.map(|call| (LeftPair { id: pair, initiator, responder, call, started }, passage));
            self.pair_ended.notify_waiters();
        }
        let session = self.leave_behind(state, kept)?;
        state.by_token.remove(&session.token.0);
        state.by_resume.remove(&session.resume.0);
        let (pair, passage) = gone.unzip();
        Some(Traveller { session, pair, passage })
    }

    /// A session of another node goes on here: it waits for its client, which has come.
    pub(super) fn arrive(&self, state: &mut State, now: Duration, traveller: Traveller) {
        let Traveller { session, pair, passage } = traveller;
        let (id, resume) = (session.id.0, session.resume.0);
        if !self.take_back_session(state, now, session) {
            return;
        }
        let (Some(pair), Some(passage)) = (pair, passage) else {
            if let Some(shared) = &state.shared {
                shared.own(id, resume);
            }
            return;
        };
        let LeftPair { id: WireId(pair), initiator, responder, mut call, started } = pair;
        let (initiator, responder) = (initiator.0, responder.0);
        let (partner, role) = match id == initiator {
            true => (responder, Role::Responder),
            false => (initiator, Role::Initiator),
        };
        let here = state.sessions.contains_key(&partner);
        let elsewhere = Some(role);
        if !state.matching.take_back_pair(KeptPair { pair, initiator, responder, elsewhere }) {
            self.tell_relay(pair, &call);
            return;
        }
        if let Some(started) = started {
            call.start(self.to_mono(started));
        }
        state.calls.entry(pair).or_insert(call);
        let Some(shared) = state.shared.as_mut() else { return };
        let (to_session, to_partner) = shared.arrive(passage, pair, (id, resume), partner, here);
        to_session.iter().for_each(|body| self.said(state, now, id, pair, body));
        to_partner.iter().for_each(|body| self.said(state, now, partner, pair, body));
    }

    /// Takes all out of the state; nothing is taken in any more.
    fn empty(&self, state: &mut State) -> (State, Vec<KeptSession>, Vec<KeptPair>) {
        let left = mem::replace(state, State::new(self.rules));
        state.draining = true;
        state.matching.drain();
        let (sessions, pairs) = left.matching.kept();
        (left, sessions, pairs)
    }

    /// Tells all to come back, spread over time.
    fn call_back(&self, state: &mut State, now: Duration) {
        // A node that drains has told them already.
        let untold = state.sessions.keys().copied().filter(|_| !state.draining);
        for id in untold.collect::<Vec<_>>() {
            let reconnect_in_ms = rand::rng().random_range(RECONNECT_MS);
            self.emit(state, now, id, &ServerEvent::Notice { kind: "draining", reconnect_in_ms });
        }
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
            partner: session.partners.present().map(|(pair, partner, who)| {
                (WireId(pair), WireId(partner), who.device.map(WireId), who.network)
            }),
            privacy: session.privacy,
            next_signal: session.next_signal,
            negotiation: session.negotiation,
            theirs: session.theirs,
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
            partners: left
                .partner
                .map(|(pair, partner, device, network)| {
                    let who = Person { device: device.map(|device| device.0), network };
                    Partners::of(pair.0, partner.0, who)
                })
                .unwrap_or_default(),
            away: Some(away),
            privacy: left.privacy,
            events: Bucket::new(EVENTS.0, EVENTS.1),
            nexts: Bucket::new(NEXTS.0, NEXTS.1),
            next_signal: left.next_signal,
            negotiation: left.negotiation,
            theirs: left.theirs,
            partner_until: None,
            lines: left.lines,
            waits_since,
        };
        state.sessions.insert(id, session);
        true
    }

    fn take_back_pair(&self, state: &mut State, left: LeftPair) -> bool {
        let LeftPair { mut call, started, .. } = left;
        let [id, initiator, responder] = [left.id, left.initiator, left.responder].map(|id| id.0);
        if !state.matching.take_back_pair(KeptPair { pair: id, initiator, responder, elsewhere: None }) {
            self.tell_relay(id, &call);
            return false;
        }
        if let Some(started) = started {
            call.start(self.to_mono(started));
        }
        state.calls.insert(id, call);
        self.have_met(state, self.clock.mono(), id);
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
