//! Reports of partners, and the hand of the operator: pairs and sessions that are ended from outside.

use std::{collections::VecDeque, time::Duration};

use turnpike_matching::{Ended, Id};

use super::{Hub, Session, State, across::Said};
use crate::{
    contract::{Ack, ErrorCode, Report, WireId},
    moderation::{Ban, Cause, Filed, Person},
};

/// A partner can be reported for so long after the end of the pair.
const AFTER_THE_END: Duration = Duration::from_secs(60);
/// Partners that one session can report.
const REMEMBERED: usize = 16;

/// The last partners of one session, the oldest first.
#[derive(Debug, Default)]
pub(super) struct Partners(VecDeque<Partner>);

#[derive(Debug)]
struct Partner {
    pair: Id,
    session: Id,
    who: Person,
    ended: Option<Duration>,
    reported: bool,
}

impl Partners {
    pub(super) fn met(&mut self, pair: Id, session: Id, who: Person) {
        if self.0.len() == REMEMBERED {
            self.0.pop_front();
        }
        self.0.push_back(Partner { pair, session, who, ended: None, reported: false });
    }

    /// One whom a session has met on another node.
    pub(super) fn of(pair: Id, session: Id, who: Person) -> Self {
        let mut partners = Self::default();
        partners.met(pair, session, who);
        partners
    }

    /// The partner of the pair that goes on: the pair, the session and the person.
    pub(super) fn present(&self) -> Option<(Id, Id, Person)> {
        let present = self.0.iter().rfind(|partner| partner.ended.is_none())?;
        Some((present.pair, present.session, present.who))
    }

    pub(super) fn ended(&mut self, now: Duration, pair: Id) {
        self.0.retain(|partner| !partner.is_past(now));
        if let Some(partner) = self.0.iter_mut().find(|partner| partner.pair == pair) {
            partner.ended = Some(now);
        }
    }
}

impl Partner {
    fn is_past(&self, now: Duration) -> bool {
        self.ended.is_some_and(|ended| ended + AFTER_THE_END < now)
    }
}

impl Session {
    pub(super) fn person(&self) -> Person {
        Person::new(self.device, self.source)
    }
}

/// One side of a pair as an operator sees it.
pub(crate) struct SideView {
    pub(crate) session: Id,
    pub(crate) who: Person,
    pub(crate) relay_only: bool,
    /// It has no socket at the moment.
    pub(crate) away: bool,
}

/// A pair as an operator sees it.
pub(crate) struct PairView {
    pub(crate) pair: Id,
    /// Unix milliseconds; `None` while it is offered.
    pub(crate) started: Option<u64>,
    pub(crate) path: &'static str,
    pub(crate) sides: Vec<SideView>,
}

/// How much there is of everything.
pub(crate) struct Numbers {
    pub(crate) sessions: usize,
    pub(crate) waiting: usize,
    pub(crate) started: usize,
    pub(crate) offered: usize,
}

impl Hub {
    /// Takes a complaint about a partner, of now or of the last minute.
    pub(crate) fn report(&self, id: Id, report: Report) -> Ack {
        let now = self.clock.mono();
        let mut state = self.lock();
        let pair = report.pair.0;
        let Some(session) = state.sessions.get_mut(&id) else { return Ack::refused(ErrorCode::NotInPair) };
        let reporter = session.person();
        let partner = session.partners.0.iter_mut().rfind(|partner| partner.pair == pair);
        let Some(partner) = partner.filter(|partner| !partner.is_past(now)) else {
            return Ack::refused(ErrorCode::NotInPair);
        };
        if std::mem::replace(&mut partner.reported, true) {
            return Ack { duplicate: Some(true), ..Ack::done() };
        }
        let (session, who) = (partner.session, partner.who);
        drop(state);
        if report.block {
            self.part(reporter, id, who, session);
        }
        self.file(Filed {
            at: self.clock.unix().as_secs(),
            pair,
            category: report.category,
            note: report.note,
            reporter: reporter.device.unwrap_or(id),
            reporter_network: reporter.network,
            about: who,
        });
        Ack::done()
    }

    /// Those whom a ban is for are told that their pair has ended, and are out.
    pub(crate) fn enforce(&self, ban: &Ban) -> usize {
        let reason = match ban.cause {
            Cause::Reports => Ended::Reported,
            Cause::Admin => Ended::Admin,
        };
        let banned = self.step(|state, now, next_pair| {
            let banned: Vec<Id> = state
                .sessions
                .iter()
                .filter(|(_, session)| ban.is_for(&session.person()))
                .map(|(id, _)| *id)
                .collect();
            for id in &banned {
                if let Some(member) = state.matching.membership(*id) {
                    state.matching.end_pair(now, member.pair, reason, next_pair);
                }
            }
            banned
        });
        // In a step of its own: what the pair's end makes known goes to sessions that are there.
        self.step(|state, now, next_pair| {
            for id in &banned {
                self.end(state, now, *id, next_pair);
            }
        });
        banned.len()
    }

    /// Ends a pair for both; false when there is none of this id.
    pub(crate) fn end_pair(&self, pair: Id, reason: Ended) -> bool {
        self.step(|state, now, next_pair| state.matching.end_pair(now, pair, reason, next_pair))
    }

    /// Pairs in the order of their ids, behind one of them.
    pub(crate) fn pairs(&self, after: Option<Id>, limit: usize) -> Vec<PairView> {
        let state = self.lock();
        let mut ids: Vec<Id> =
            state.calls.keys().filter(|id| after.is_none_or(|after| **id > after)).copied().collect();
        ids.sort_unstable();
        ids.into_iter().take(limit).filter_map(|pair| self.look_at(&state, pair)).collect()
    }

    fn look_at(&self, state: &State, pair: Id) -> Option<PairView> {
        let (sides, _) = state.matching.sides(pair)?;
        let call = state.calls.get(&pair)?;
        let side = |id: Id| {
            let session = state.sessions.get(&id)?;
            let relay_only = session.privacy == crate::contract::Privacy::Relay;
            let (who, away) = (session.person(), session.away.is_some());
            Some(SideView { session: id, who, relay_only, away })
        };
        Some(PairView {
            pair,
            started: call.started().map(|at| self.to_unix(at)),
            path: call.path().name(),
            sides: sides.into_iter().filter_map(side).collect(),
        })
    }

    pub(crate) fn numbers(&self) -> Numbers {
        let state = self.lock();
        let (started, offered) = state.matching.pairs();
        Numbers { sessions: state.sessions.len(), waiting: state.matching.waiting(), started, offered }
    }

    /// Both sides of a pair may report each other from now on.
    pub(super) fn have_met(&self, state: &mut State, now: Duration, pair: Id) {
        let Some(([one, other], _)) = state.matching.sides(pair) else { return };
        let [Some(first), Some(second)] = state.sessions.get_disjoint_mut([&one, &other]) else {
            for id in [one, other] {
                let Some(who) = state.sessions.get(&id).map(Session::person) else { continue };
                let Some(member) = state.matching.membership(id) else { continue };
                let said = Said::Who { device: who.device.map(WireId), network: who.network };
                self.pass_on(state, now, id, member, said);
            }
            return;
        };
        let (of_first, of_second) = (first.person(), second.person());
        first.partners.met(pair, other, of_second);
        second.partners.met(pair, one, of_first);
    }
}
