//! The rules of meeting: two-phase match, oldest first, interests first, nobody twice in a row.

use std::{
    collections::{HashMap, VecDeque},
    time::Duration,
};

use crate::{
    Id,
    apart::Apart,
    queue::{Mode, Place, Queue, Wishes},
    recent::{REMEMBERED, Recent},
    timers::{Timer, Timers},
};

/// How many of a line are looked at: more than one session can have met lately, so that someone new behind them is seen.
const LOOKS: usize = 2 * REMEMBERED + 1;
/// How much longer than its own clients a node waits for the word of the other node.
const WORD_ON_ITS_WAY: Duration = Duration::from_millis(500);

/// How long the shared store is told that two who are kept apart have met lately.
const APART_FOR: Duration = Duration::from_secs(86_400);

/// How long things take.
#[derive(Debug, Clone, Copy)]
pub struct Rules {
    /// After this wait interests no longer matter.
    pub widen_after: Duration,
    /// Both accept within this time.
    pub accept_within: Duration,
    /// The same two do not meet again within this time.
    pub rematch_after: Duration,
}

/// A side of a pair. The one that waited longer is the initiator.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Makes the first offer, and is the impolite one.
    Initiator,
    /// Answers.
    Responder,
}

/// Why a pair ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// One side asked for another partner.
    Next,
    /// One side left.
    Left,
    /// One side's connection ended.
    Lost,
    /// Not both accepted in time.
    Expired,
    /// One side was banned after reports.
    Reported,
    /// What it was given to use is used up.
    Quota,
    /// The operator ended it.
    Admin,
}

/// What became of a session; in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// It waits, `since` the time of its first join.
    Waiting {
        /// Who.
        session: Id,
        /// Since when.
        since: Duration,
        /// Interests no longer matter.
        widened: bool,
    },
    /// It may meet someone, if both accept.
    Found {
        /// Who.
        session: Id,
        /// The pair.
        pair: Id,
        /// Its side.
        role: Role,
        /// Interests that both named.
        common: Vec<String>,
    },
    /// Both have accepted.
    Started {
        /// Who.
        session: Id,
        /// The pair.
        pair: Id,
    },
    /// Its pair ended.
    Ended {
        /// Who.
        session: Id,
        /// The pair.
        pair: Id,
        /// Why.
        reason: Ended,
        /// Both had accepted before.
        started: bool,
        /// It is in the queue again.
        waiting: bool,
    },
}

/// What a store that nodes share is to be told; in order. Without one there are none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Order {
    /// A session waits: find it a partner, now or when one comes.
    Seek {
        /// Who.
        session: Id,
        /// The time of its first join.
        since: Duration,
        /// Interests no longer matter.
        widened: bool,
        /// Whom it looks for.
        wishes: Wishes,
        /// Whom it has met lately, and until when they do not meet again.
        recent: Vec<(Id, Duration)>,
        /// The last pair that it was in: over, whatever the store knows.
        last_pair: Option<Id>,
        /// Whose session it is.
        party: Id,
    },
    /// A session waits no more.
    Withdraw {
        /// Who.
        session: Id,
    },
    /// A session accepts a match with one of another node.
    Accept {
        /// Who.
        session: Id,
        /// The pair.
        pair: Id,
    },
    /// A pair with a session of another node has ended here.
    End {
        /// The side of this node.
        session: Id,
        /// The pair.
        pair: Id,
        /// The side of the other node.
        partner: Id,
        /// Why.
        reason: Ended,
    },
}

/// A match that the shared store has made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// The pair.
    pub pair: Id,
    /// Who waited longer.
    pub initiator: Id,
    /// The other.
    pub responder: Id,
    /// The side of another node; `None` when both are of this one.
    pub elsewhere: Option<Role>,
    /// Interests that both named.
    pub common: Vec<String>,
}

/// Why a step was refused; nothing has changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// The session is not in that pair.
    #[error("the session is not in that pair")]
    NotInPair,
    /// Not in the state that the session is in.
    #[error("not in the state that the session is in")]
    WrongState,
    /// Nobody is paired any more.
    #[error("draining")]
    Draining,
}

/// What a leave has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Left {
    /// The wait.
    Queue,
    /// An offer or a pair.
    Pair,
    /// Nothing.
    Nothing,
}

/// A session's place in its pair.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Membership {
    /// The pair.
    pub pair: Id,
    /// The other side.
    pub partner: Id,
    /// This side.
    pub role: Role,
    /// Both have accepted.
    pub started: bool,
}

/// What is kept of a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptSession {
    /// Who.
    pub session: Id,
    /// Since when it waits, when it does.
    pub waiting: Option<Duration>,
    /// Whom it looks for, or has last looked for.
    pub wishes: Option<Wishes>,
    /// Whom it has met lately, and until when they do not meet again.
    pub recent: Vec<(Id, Duration)>,
}

/// What is kept of a pair that has started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeptPair {
    /// The pair.
    pub pair: Id,
    /// Who waited longer.
    pub initiator: Id,
    /// The other.
    pub responder: Id,
    /// The side of another node.
    pub elsewhere: Option<Role>,
}

#[derive(Debug, Default)]
struct Session {
    state: State,
    wishes: Option<Wishes>,
    /// Kept while waiting and offered: who comes back from an offer has not lost its place.
    place: Option<Place>,
    recent: Recent,
    last_pair: Option<Id>,
    /// Whose session it is: one person may have several. Itself, where that is not known.
    party: Option<Id>,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum State {
    #[default]
    Idle,
    Waiting {
        widened: bool,
        retry_at: Option<Duration>,
    },
    /// Waits, but cannot be reached.
    Away,
    Paired(Id),
}

#[derive(Debug)]
struct Pair {
    initiator: Side,
    responder: Side,
    deadline: Duration,
}

#[derive(Debug, Clone, Copy)]
struct Side {
    session: Id,
    accepted: bool,
    /// Of another node, which speaks for it.
    elsewhere: bool,
}

/// All sessions of one node, the queue between them, and their pairs.
#[derive(Debug)]
pub struct Matching {
    rules: Rules,
    sessions: HashMap<Id, Session>,
    queue: Queue,
    pairs: HashMap<Id, Pair>,
    /// Pairs in which both have accepted.
    started: usize,
    timers: Timers,
    apart: Apart,
    events: VecDeque<Event>,
    turns: u64,
    draining: bool,
    /// A store that nodes share makes the pairs.
    shared: bool,
    orders: VecDeque<Order>,
}

impl Matching {
    /// Nobody is there yet.
    pub fn new(rules: Rules) -> Self {
        Self {
            rules,
            sessions: HashMap::new(),
            queue: Queue::default(),
            pairs: HashMap::new(),
            started: 0,
            timers: Timers::default(),
            apart: Apart::default(),
            events: VecDeque::new(),
            turns: 0,
            draining: false,
            shared: false,
            orders: VecDeque::new(),
        }
    }

    /// A session begins; idle.
    pub fn enter(&mut self, session: Id) {
        self.sessions.entry(session).or_default();
    }

    /// Tells whose session it is: sessions of one person do not meet.
    pub fn introduce(&mut self, session: Id, party: Id) {
        if let Some(entry) = self.sessions.get_mut(&session) {
            entry.party = Some(party);
        }
    }

    /// These two people, or sessions of nobody known, are never matched from now on.
    pub fn keep_apart(&mut self, one: Id, other: Id) {
        self.apart.keep(one, other);
    }

    /// A session ends: out of the queue, its pair is lost.
    pub fn exit(&mut self, now: Duration, session: Id, next_pair: &mut impl FnMut() -> Id) {
        self.release(now, session, Ended::Lost, next_pair);
        self.sessions.remove(&session);
    }

    /// Enters the queue, or changes the wishes of one who waits, who keeps its place.
    ///
    /// # Errors
    /// [`Refused::WrongState`] in a pair, [`Refused::Draining`].
    pub fn join(
        &mut self,
        now: Duration,
        session: Id,
        wishes: Wishes,
        next_pair: &mut impl FnMut() -> Id,
    ) -> Result<(), Refused> {
        if self.draining {
            return Err(Refused::Draining);
        }
        let entry = self.sessions.get_mut(&session).ok_or(Refused::WrongState)?;
        match entry.state {
            State::Paired(_) => return Err(Refused::WrongState),
            State::Waiting { .. } => self.unqueue(session),
            State::Away => {}
            State::Idle => entry.place = None,
        }
        self.session(session).wishes = Some(wishes);
        self.enqueue(now, session);
        self.look_for_partner(now, session, next_pair);
        Ok(())
    }

    /// A session cannot be reached for now: who waits keeps its place but is found by nobody, an offer is lost, and a pair
    /// that has started goes on.
    pub fn away(&mut self, now: Duration, session: Id, next_pair: &mut impl FnMut() -> Id) {
        match self.sessions.get(&session).map(|s| s.state) {
            Some(State::Waiting { .. }) => {
                self.unqueue(session);
                self.withdraw(session);
                self.session(session).state = State::Away;
            }
            Some(State::Paired(pair)) if !self.pairs[&pair].started() => {
                self.end(now, pair, session, Ended::Lost, false, next_pair);
            }
            Some(State::Paired(_) | State::Idle | State::Away) | None => {}
        }
    }

    /// A session can be reached again: who waited is at its place again.
    pub fn back(&mut self, now: Duration, session: Id, next_pair: &mut impl FnMut() -> Id) {
        if self.sessions.get(&session).is_some_and(|s| s.state == State::Away) {
            self.enqueue(now, session);
            self.look_for_partner(now, session, next_pair);
        }
    }

    /// A session that has been away for too long loses its pair; it stays, idle.
    pub fn lose(&mut self, now: Duration, session: Id, next_pair: &mut impl FnMut() -> Id) {
        if let Some(State::Paired(pair)) = self.sessions.get(&session).map(|s| s.state) {
            self.end(now, pair, session, Ended::Lost, false, next_pair);
        }
    }

    /// Leaves whatever the session is in.
    pub fn leave(&mut self, now: Duration, session: Id, next_pair: &mut impl FnMut() -> Id) -> Left {
        self.release(now, session, Ended::Left, next_pair)
    }

    /// Leaves this pair.
    ///
    /// # Errors
    /// [`Refused::NotInPair`].
    pub fn leave_pair(
        &mut self,
        now: Duration,
        session: Id,
        pair: Id,
        next_pair: &mut impl FnMut() -> Id,
    ) -> Result<(), Refused> {
        self.check_member(session, pair)?;
        self.end(now, pair, session, Ended::Left, false, next_pair);
        Ok(())
    }

    /// Ends a pair from outside, for both; false when there is none of this id.
    pub fn end_pair(
        &mut self,
        now: Duration,
        pair: Id,
        reason: Ended,
        next_pair: &mut impl FnMut() -> Id,
    ) -> bool {
        let Some(started) = self.pairs.get(&pair).map(Pair::started) else { return false };
        let back = self.dissolve(now, pair, reason, |_| !started);
        self.requeue(now, back, next_pair);
        true
    }

    /// Leaves this pair for another partner, with new wishes or with those of before.
    ///
    /// # Errors
    /// [`Refused::NotInPair`], [`Refused::Draining`].
    pub fn next(
        &mut self,
        now: Duration,
        session: Id,
        pair: Id,
        wishes: Option<Wishes>,
        next_pair: &mut impl FnMut() -> Id,
    ) -> Result<(), Refused> {
        self.check_member(session, pair)?;
        if self.draining {
            return Err(Refused::Draining);
        }
        if let Some(wishes) = wishes {
            self.session(session).wishes = Some(wishes);
        }
        self.end(now, pair, session, Ended::Next, true, next_pair);
        Ok(())
    }

    /// Accepts a match that was found. Accepting again changes nothing.
    ///
    /// # Errors
    /// [`Refused::NotInPair`].
    pub fn accept(&mut self, session: Id, pair: Id) -> Result<(), Refused> {
        self.check_member(session, pair)?;
        let offered = self.pairs.get_mut(&pair).ok_or(Refused::NotInPair)?;
        let before = offered.started();
        offered.side_mut(session).accepted = true;
        if offered.sides().iter().any(|side| side.elsewhere) {
            // The store has the consent of both nodes before either starts.
            if !before {
                self.orders.push_back(Order::Accept { session, pair });
            }
        } else if !before && offered.started() {
            self.begin(pair);
        }
        Ok(())
    }

    /// Whether a shared store makes the pairs from now on, or this node alone. All who wait look again, the oldest first.
    pub fn share(&mut self, now: Duration, shared: bool, next_pair: &mut impl FnMut() -> Id) {
        self.shared = shared;
        self.orders.clear();
        for id in self.in_line() {
            self.look_for_partner(now, id, next_pair);
        }
    }

    /// Tells the shared store of all who wait once more: what it knows of them does not last.
    pub fn renew(&mut self) {
        if self.shared {
            self.in_line().into_iter().for_each(|id| self.seek(id));
        }
    }

    /// A waiting session looks again at that time.
    pub fn look_again(&mut self, session: Id, at: Duration) {
        if matches!(self.sessions.get(&session).map(|s| s.state), Some(State::Waiting { .. })) {
            self.retry_at(session, Some(at));
        }
    }

    /// The shared store has made a pair. A side of this node that does not wait refuses it; false then.
    pub fn found(&mut self, now: Duration, found: Found, next_pair: &mut impl FnMut() -> Id) -> bool {
        let Found { pair, initiator, responder, elsewhere, common } = found;
        if self.pairs.contains_key(&pair) {
            return false;
        }
        let here = |role: Role| elsewhere != Some(role);
        let sides = [(initiator, here(Role::Initiator)), (responder, here(Role::Responder))];
        let waits = |id: Id| matches!(self.sessions.get(&id).map(|s| s.state), Some(State::Waiting { .. }));
        let all_wait = initiator != responder && sides.iter().all(|(id, here)| !here || waits(*id));
        // The shared store knows of no blocks: it is told as of a partner of lately.
        let strangers = !all_wait || elsewhere.is_some() || self.may_meet(initiator, responder);
        if all_wait && strangers {
            self.propose(now, pair, sides, &common);
            return true;
        }
        let still: Vec<Id> =
            sides.iter().filter(|(id, here)| *here && waits(*id)).map(|(id, _)| *id).collect();
        if !strangers {
            for (id, partner) in [(initiator, responder), (responder, initiator)] {
                self.session(id).recent.remember(partner, now + APART_FOR);
            }
        }
        if let [(session, true), (partner, false)] | [(partner, false), (session, true)] = sides {
            self.orders.push_back(Order::End { session, pair, partner, reason: Ended::Left });
        }
        for id in still {
            self.session(id).last_pair = Some(pair);
            self.look_for_partner(now, id, next_pair);
        }
        false
    }

    /// The shared store has the consent of both nodes.
    pub fn start(&mut self, pair: Id) {
        let Some(offered) = self.pairs.get_mut(&pair) else { return };
        if !offered.started() && offered.sides().iter().all(|side| side.accepted || side.elsewhere) {
            offered.initiator.accepted = true;
            offered.responder.accepted = true;
            self.begin(pair);
        }
    }

    /// The other node has ended a pair; false when it is not known here.
    pub fn ended(
        &mut self,
        now: Duration,
        pair: Id,
        reason: Ended,
        next_pair: &mut impl FnMut() -> Id,
    ) -> bool {
        let Some(known) = self.pairs.get(&pair).filter(|pair| pair.is_across()) else { return false };
        let started = known.started();
        let waits = |side: Side| !started && (side.accepted || reason != Ended::Expired);
        let back = self.dissolve(now, pair, reason, waits);
        // The other node knows.
        self.orders.retain(|order| !matches!(order, Order::End { pair: ended, .. } if *ended == pair));
        self.requeue(now, back, next_pair);
        true
    }

    /// What the shared store is to be told; drain it after every step.
    pub fn poll_order(&mut self) -> Option<Order> {
        self.orders.pop_front()
    }

    /// A session goes on on another node: it is no longer here, and a pair that has started has a side elsewhere.
    pub fn hand_away(
        &mut self,
        now: Duration,
        session: Id,
        next_pair: &mut impl FnMut() -> Id,
    ) -> Option<(KeptSession, Option<KeptPair>)> {
        self.away(now, session, next_pair);
        let entry = self.sessions.remove(&session)?;
        let place = entry.place.filter(|_| entry.state == State::Away);
        let kept = KeptSession {
            session,
            waiting: place.map(|place| place.since),
            wishes: entry.wishes,
            recent: entry.recent.iter().collect(),
        };
        let State::Paired(id) = entry.state else { return Some((kept, None)) };
        let pair = self.pairs.get_mut(&id).expect("a pair in hand is there");
        pair.side_mut(session).elsewhere = true;
        // Seen from where the session goes.
        let partner = if pair.initiator.session == session { Role::Responder } else { Role::Initiator };
        let (initiator, responder) = (pair.initiator.session, pair.responder.session);
        let left = KeptPair { pair: id, initiator, responder, elsewhere: Some(partner) };
        if pair.sides().iter().all(|side| side.elsewhere) {
            self.pairs.remove(&id);
            self.started -= 1;
        }
        Some((kept, Some(left)))
    }

    /// From now on nobody is paired; those in a pair go on, those who wait leave the queue.
    pub fn drain(&mut self) {
        self.draining = true;
        let waiting =
            |session: &&Id| matches!(self.sessions[*session].state, State::Waiting { .. } | State::Away);
        for session in self.sessions.keys().filter(waiting).copied().collect::<Vec<_>>() {
            self.unqueue(session);
            self.withdraw(session);
            self.session(session).state = State::Idle;
        }
    }

    /// From now on nobody is paired, and offers end; then [`Self::kept`] says what is left.
    pub fn halt(&mut self, now: Duration, next_pair: &mut impl FnMut() -> Id) {
        self.draining = true;
        let offered = self.pairs.iter().filter(|(_, pair)| !pair.started()).map(|(id, _)| *id);
        for pair in offered.collect::<Vec<_>>() {
            self.expire(now, pair, next_pair);
        }
    }

    /// All sessions, those that wait in their order, and the pairs that have started: what another process goes on with.
    pub fn kept(&self) -> (Vec<KeptSession>, Vec<KeptPair>) {
        let mut sessions: Vec<(Option<Place>, KeptSession)> = Vec::with_capacity(self.sessions.len());
        for (id, session) in &self.sessions {
            let waits = matches!(session.state, State::Waiting { .. } | State::Away);
            let (place, wishes) = (session.place.filter(|_| waits), session.wishes.clone());
            let waiting = place.map(|place| place.since);
            let recent = session.recent.iter().collect();
            sessions.push((place, KeptSession { session: *id, waiting, wishes, recent }));
        }
        sessions.sort_by_key(|(place, _)| *place);
        let started = self.pairs.iter().filter(|(_, pair)| pair.started());
        let pairs = started.map(|(id, pair)| KeptPair {
            pair: *id,
            initiator: pair.initiator.session,
            responder: pair.responder.session,
            elsewhere: match (pair.initiator.elsewhere, pair.responder.elsewhere) {
                (true, _) => Some(Role::Initiator),
                (_, true) => Some(Role::Responder),
                _ => None,
            },
        });
        (sessions.into_iter().map(|(_, session)| session).collect(), pairs.collect())
    }

    /// A session of another process begins again, away.
    pub fn take_back(&mut self, kept: KeptSession) {
        let turn = self.turns;
        self.turns += 1;
        let place = kept.waiting.filter(|_| kept.wishes.is_some()).map(|since| Place { since, turn });
        let state = if place.is_some() { State::Away } else { State::Idle };
        let mut recent = Recent::default();
        kept.recent.into_iter().for_each(|(partner, until)| recent.remember(partner, until));
        self.sessions.insert(
            kept.session,
            Session { state, wishes: kept.wishes, place, recent, last_pair: None, party: None },
        );
    }

    /// A pair of another process begins again, started; false unless its sides of this node are there and free. One with a
    /// side that was elsewhere until now is whole.
    pub fn take_back_pair(&mut self, kept: KeptPair) -> bool {
        let sides = [(kept.initiator, Role::Initiator), (kept.responder, Role::Responder)];
        if let Some(known) = self.pairs.get_mut(&kept.pair) {
            let Some((id, _)) = sides.into_iter().find(|(_, role)| kept.elsewhere != Some(*role)) else {
                return false;
            };
            let free = self.sessions.get_mut(&id).filter(|session| session.state == State::Idle);
            let side = known.sides().into_iter().find(|side| side.session == id && side.elsewhere);
            let (Some(session), Some(_)) = (free, side) else { return false };
            session.state = State::Paired(kept.pair);
            known.side_mut(id).elsewhere = false;
            return true;
        }
        let free = |id: &Id| self.sessions.get(id).is_some_and(|session| session.state == State::Idle);
        let here = |role: Role| kept.elsewhere != Some(role);
        if kept.initiator == kept.responder || !sides.iter().all(|(id, role)| !here(*role) || free(id)) {
            return false;
        }
        for (id, role) in sides {
            if here(role) {
                self.session(id).state = State::Paired(kept.pair);
            }
        }
        let [initiator, responder] =
            sides.map(|(session, role)| Side { session, accepted: true, elsewhere: !here(role) });
        self.pairs.insert(kept.pair, Pair { initiator, responder, deadline: Duration::ZERO });
        self.started += 1;
        true
    }

    /// Does what is due.
    pub fn handle_timeout(&mut self, now: Duration, next_pair: &mut impl FnMut() -> Id) {
        while let Some(timer) = self.timers.pop(now) {
            match timer {
                Timer::Deadline(pair) => self.expire(now, pair, next_pair),
                Timer::Widen(session) => self.widen(now, session, next_pair),
                Timer::Retry(session) => {
                    if let Some(State::Waiting { retry_at, .. }) =
                        self.sessions.get_mut(&session).map(|s| &mut s.state)
                    {
                        *retry_at = None;
                        self.look_for_partner(now, session, next_pair);
                    }
                }
            }
        }
    }

    /// When [`Self::handle_timeout`] is due.
    pub fn poll_timeout(&self) -> Option<Duration> {
        self.timers.next()
    }

    /// What has become of whom; drain it after every step.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// A session's place in its pair.
    pub fn membership(&self, session: Id) -> Option<Membership> {
        let State::Paired(id) = self.sessions.get(&session)?.state else { return None };
        let pair = &self.pairs[&id];
        let (role, partner) = match pair.initiator.session == session {
            true => (Role::Initiator, pair.responder.session),
            false => (Role::Responder, pair.initiator.session),
        };
        Some(Membership { pair: id, partner, role, started: pair.started() })
    }

    /// Both sides of a pair, the initiator first, and whether both have accepted.
    pub fn sides(&self, pair: Id) -> Option<([Id; 2], bool)> {
        let pair = self.pairs.get(&pair)?;
        Some((pair.sides().map(|side| side.session), pair.started()))
    }

    /// Sessions that wait.
    pub fn waiting(&self) -> usize {
        Mode::ALL.into_iter().map(|mode| self.waiting_for(mode)).sum()
    }

    /// Those of them that came for this.
    pub fn waiting_for(&self, mode: Mode) -> usize {
        self.queue.waiting(mode)
    }

    /// Sessions.
    pub fn sessions(&self) -> usize {
        self.sessions.len()
    }

    /// Pairs in which both have accepted, and those that are still offered.
    pub fn pairs(&self) -> (usize, usize) {
        (self.started, self.pairs.len() - self.started)
    }

    /// Puts a session into the queue, at the place it has or at the end.
    fn enqueue(&mut self, now: Duration, id: Id) {
        let turn = self.turns;
        self.turns += 1;
        let widen_after = self.rules.widen_after;
        let Self { sessions, queue, timers, events, .. } = self;
        let session = sessions.get_mut(&id).expect("a session that joins is there");
        let wishes = session.wishes.as_ref().expect("who joins has wishes");
        let place = *session.place.get_or_insert(Place { since: now, turn });
        let widened = wishes.interests.is_empty() || place.since + widen_after <= now;
        queue.insert(id, place, wishes, widened);
        if !widened {
            timers.set(place.since + widen_after, Timer::Widen(id));
        }
        session.state = State::Waiting { widened, retry_at: None };
        events.push_back(Event::Waiting { session: id, since: place.since, widened });
    }

    /// Takes a waiting session out of the queue; it keeps its place until it is idle.
    fn unqueue(&mut self, id: Id) {
        let widen_after = self.rules.widen_after;
        let Self { sessions, queue, timers, .. } = self;
        let Some(session) = sessions.get_mut(&id) else { return };
        let (State::Waiting { retry_at, .. }, Some(place), Some(wishes)) =
            (session.state, session.place, &session.wishes)
        else {
            return;
        };
        queue.remove(place, wishes);
        timers.cancel(place.since + widen_after, Timer::Widen(id));
        if let Some(at) = retry_at {
            timers.cancel(at, Timer::Retry(id));
        }
    }

    fn widen(&mut self, now: Duration, id: Id, next_pair: &mut impl FnMut() -> Id) {
        let Some(session) = self.sessions.get_mut(&id) else { return };
        let (State::Waiting { widened, .. }, Some(place), Some(wishes)) =
            (&mut session.state, session.place, &session.wishes)
        else {
            return;
        };
        *widened = true;
        self.queue.widen(id, place, wishes.mode);
        self.events.push_back(Event::Waiting { session: id, since: place.since, widened: true });
        self.look_for_partner(now, id, next_pair);
    }

    /// Offers a waiting session the longest waiter who shares an interest, else the longest to whom they do not matter.
    fn look_for_partner(&mut self, now: Duration, id: Id, next_pair: &mut impl FnMut() -> Id) {
        if self.shared {
            self.seek(id);
            return;
        }
        let session = &self.sessions[&id];
        let (State::Waiting { widened, .. }, Some(wishes)) = (session.state, &session.wishes) else { return };
        let mut again = None;
        let mut free = |(_, other): &(Place, Id)| {
            let met = session.recent.until(*other, now).max(self.sessions[other].recent.until(id, now));
            again = again.into_iter().chain(met).min();
            *other != id && met.is_none() && self.may_meet(id, *other)
        };
        let sharing = self.queue.sharing(wishes, LOOKS).filter(|found| free(found)).min();
        let found = sharing.or_else(|| match widened {
            true => self.queue.open(wishes.mode).take(LOOKS).find(|found| free(found)),
            false => None,
        });
        match found {
            Some((_, other)) => self.offer(now, id, other, next_pair()),
            None => self.retry_at(id, again),
        }
    }

    /// Two people who are not kept apart, and not one in two windows.
    fn may_meet(&self, one: Id, other: Id) -> bool {
        let party = |id: Id| self.sessions[&id].party.unwrap_or(id);
        let (one, other) = (party(one), party(other));
        one != other && !self.apart.are(one, other)
    }

    fn retry_at(&mut self, id: Id, again: Option<Duration>) {
        let (Some(at), State::Waiting { retry_at, .. }) = (again, &mut self.session(id).state) else {
            return;
        };
        let before = retry_at.replace(at);
        if let Some(before) = before {
            self.timers.cancel(before, Timer::Retry(id));
        }
        self.timers.set(at, Timer::Retry(id));
    }

    fn offer(&mut self, now: Duration, one: Id, other: Id, pair: Id) {
        let (one_place, other_place) = (self.sessions[&one].place, self.sessions[&other].place);
        let (first, second) = if one_place < other_place { (one, other) } else { (other, one) };
        let common = self.common(first, second);
        self.propose(now, pair, [(first, true), (second, true)], &common);
    }

    /// Offers those who wait here to each other, or to one of another node; the initiator first.
    fn propose(&mut self, now: Duration, pair: Id, sides: [(Id, bool); 2], common: &[String]) {
        let across = sides.iter().any(|(_, here)| !here);
        let deadline = now + self.rules.accept_within + if across { WORD_ON_ITS_WAY } else { Duration::ZERO };
        let [initiator, responder] =
            sides.map(|(session, here)| Side { session, accepted: false, elsewhere: !here });
        self.pairs.insert(pair, Pair { initiator, responder, deadline });
        self.timers.set(deadline, Timer::Deadline(pair));
        for (side, role) in [(initiator, Role::Initiator), (responder, Role::Responder)] {
            if !side.elsewhere {
                self.unqueue(side.session);
                self.session(side.session).state = State::Paired(pair);
                let common = common.to_vec();
                self.events.push_back(Event::Found { session: side.session, pair, role, common });
            }
        }
    }

    /// Both sides have accepted.
    fn begin(&mut self, pair: Id) {
        let begun = &self.pairs[&pair];
        let (sides, deadline) = (begun.sides(), begun.deadline);
        self.started += 1;
        self.timers.cancel(deadline, Timer::Deadline(pair));
        for side in sides.into_iter().filter(|side| !side.elsewhere) {
            self.events.push_back(Event::Started { session: side.session, pair });
            self.session(side.session).place = None;
        }
    }

    /// Those who wait, in their order.
    fn in_line(&self) -> Vec<Id> {
        let waits = |session: &Session| matches!(session.state, State::Waiting { .. });
        let waiting = self.sessions.iter().filter(|(_, session)| waits(session));
        let mut line: Vec<(Option<Place>, Id)> = waiting.map(|(id, session)| (session.place, *id)).collect();
        line.sort_unstable();
        line.into_iter().map(|(_, id)| id).collect()
    }

    /// Tells the shared store that a session waits.
    fn seek(&mut self, id: Id) {
        let session = &self.sessions[&id];
        let (State::Waiting { widened, .. }, Some(place), Some(wishes)) =
            (session.state, session.place, &session.wishes)
        else {
            return;
        };
        self.orders.push_back(Order::Seek {
            session: id,
            since: place.since,
            widened,
            wishes: wishes.clone(),
            recent: session.recent.iter().collect(),
            last_pair: session.last_pair,
            party: session.party.unwrap_or(id),
        });
    }

    fn withdraw(&mut self, session: Id) {
        if self.shared {
            self.orders.push_back(Order::Withdraw { session });
        }
    }

    fn common(&self, one: Id, other: Id) -> Vec<String> {
        let interests = |id: Id| self.sessions[&id].wishes.iter().flat_map(|wishes| &wishes.interests);
        interests(one)
            .filter(|interest| interests(other).any(|theirs| theirs == *interest))
            .cloned()
            .collect()
    }

    fn release(
        &mut self,
        now: Duration,
        session: Id,
        reason: Ended,
        next_pair: &mut impl FnMut() -> Id,
    ) -> Left {
        match self.sessions.get(&session).map(|s| s.state) {
            Some(State::Waiting { .. }) => {
                self.unqueue(session);
                self.withdraw(session);
                self.session(session).state = State::Idle;
                Left::Queue
            }
            Some(State::Away) => {
                self.session(session).state = State::Idle;
                Left::Queue
            }
            Some(State::Paired(pair)) => {
                self.end(now, pair, session, reason, false, next_pair);
                Left::Pair
            }
            Some(State::Idle) | None => Left::Nothing,
        }
    }

    /// Ends a pair because of `by`. Its partner goes back to its place in the queue when the match had not started.
    fn end(
        &mut self,
        now: Duration,
        pair: Id,
        by: Id,
        reason: Ended,
        by_waits: bool,
        next_pair: &mut impl FnMut() -> Id,
    ) {
        let started = self.pairs[&pair].started();
        self.session(by).place = None;
        let back = self.dissolve(now, pair, reason, |side| match side.session == by {
            true => by_waits,
            false => !started,
        });
        self.requeue(now, back, next_pair);
    }

    fn expire(&mut self, now: Duration, pair: Id, next_pair: &mut impl FnMut() -> Id) {
        if self.pairs.get(&pair).is_some_and(|pair| !pair.started()) {
            let back = self.dissolve(now, pair, Ended::Expired, |side| side.accepted);
            self.requeue(now, back, next_pair);
        }
    }

    /// Takes a pair apart, exactly once, and tells both; who is to wait again.
    fn dissolve(
        &mut self,
        now: Duration,
        id: Id,
        reason: Ended,
        waits: impl Fn(Side) -> bool,
    ) -> [Option<Id>; 2] {
        let pair = self.pairs.remove(&id).expect("a pair in hand is there");
        self.timers.cancel(pair.deadline, Timer::Deadline(id));
        self.started -= usize::from(pair.started());
        let until = now + self.rules.rematch_after;
        let [one, other] = pair.sides();
        [(one, other), (other, one)].map(|(side, partner)| {
            if side.elsewhere {
                let (session, partner) = (partner.session, side.session);
                self.orders.push_back(Order::End { session, pair: id, partner, reason });
                return None;
            }
            let waiting = waits(side) && !self.draining;
            let session = self.session(side.session);
            session.recent.remember(partner.session, until);
            session.last_pair = Some(id);
            session.state = State::Idle;
            self.events.push_back(Event::Ended {
                session: side.session,
                pair: id,
                reason,
                started: pair.started(),
                waiting,
            });
            waiting.then_some(side.session)
        })
    }

    /// Those who wait again after the end of their pair enter the queue, the longest waiter first.
    fn requeue(&mut self, now: Duration, mut back: [Option<Id>; 2], next_pair: &mut impl FnMut() -> Id) {
        back.sort_by_key(|id| {
            let place = id.and_then(|id| self.sessions[&id].place);
            place.unwrap_or(Place { since: now, turn: u64::MAX })
        });
        for id in back.into_iter().flatten() {
            self.enqueue(now, id);
            self.look_for_partner(now, id, next_pair);
        }
    }

    fn check_member(&self, session: Id, pair: Id) -> Result<(), Refused> {
        let state = self.sessions.get(&session).map(|s| s.state);
        match state == Some(State::Paired(pair)) {
            true => Ok(()),
            false => Err(Refused::NotInPair),
        }
    }

    fn session(&mut self, id: Id) -> &mut Session {
        self.sessions.get_mut(&id).expect("a session in hand is there")
    }
}

impl Pair {
    fn started(&self) -> bool {
        self.initiator.accepted && self.responder.accepted
    }

    /// One side is of another node.
    fn is_across(&self) -> bool {
        self.sides().iter().any(|side| side.elsewhere)
    }

    fn sides(&self) -> [Side; 2] {
        [self.initiator, self.responder]
    }

    fn side_mut(&mut self, session: Id) -> &mut Side {
        match self.initiator.session == session {
            true => &mut self.initiator,
            false => &mut self.responder,
        }
    }
}

impl Wishes {
    /// Brings interests into comparable form: trimmed, lower case, each once.
    pub fn new(mode: Mode, interests: impl IntoIterator<Item = impl AsRef<str>>) -> Self {
        let mut comparable: Vec<String> = Vec::new();
        for interest in interests {
            let interest = interest.as_ref().trim().to_lowercase();
            if !interest.is_empty() && !comparable.contains(&interest) {
                comparable.push(interest);
            }
        }
        Self { mode, interests: comparable }
    }
}
