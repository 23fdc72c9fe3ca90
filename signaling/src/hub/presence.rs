//! Sessions whose socket was lost: kept for a while, so that another socket can take over.

use std::{collections::BTreeSet, net::IpAddr, time::Duration};

use turnpike_matching::{Id, Membership};

use super::{Hub, NextPair, Outlet, Session, State, across::Said};
use crate::{
    contract::{ErrorCode, PeerPresence, Resume, ServerEvent, SessionState},
    limit::Connection,
};

/// A session and the socket that speaks for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Attached {
    pub(crate) id: Id,
    nth: u64,
}

/// A session without a socket.
pub(super) struct Away {
    /// How long its pair waits for it.
    pair_until: Duration,
    /// How long it is kept.
    until: Duration,
    /// Sessions without a socket count as sockets do.
    _place: Connection,
}

impl Away {
    pub(super) fn new(now: Duration, pair_grace: Duration, resume_for: Duration, place: Connection) -> Self {
        Self { pair_until: now + pair_grace, until: now + resume_for, _place: place }
    }

    /// When something is due for it.
    pub(super) fn next(&self) -> Duration {
        self.pair_until.min(self.until)
    }
}

/// When to look at which session that is away.
#[derive(Default)]
pub(super) struct Absences(BTreeSet<(Duration, Id)>);

impl Absences {
    pub(super) fn next(&self) -> Option<Duration> {
        self.0.first().map(|(at, _)| *at)
    }

    pub(super) fn look_at(&mut self, at: Duration, session: Id) {
        self.0.insert((at, session));
    }

    fn pop(&mut self, now: Duration) -> Option<Id> {
        let first = *self.0.first().filter(|(at, _)| *at <= now)?;
        self.0.remove(&first);
        Some(first.1)
    }
}

impl Hub {
    /// A socket opens: it goes on with the session that it names, or begins one and is greeted.
    ///
    /// # Errors
    /// `draining`, for a new session.
    pub(crate) fn connect(
        &self,
        outlet: Outlet,
        resume: Option<Resume>,
        source: IpAddr,
        device: Option<Id>,
    ) -> Result<Attached, ErrorCode> {
        let Some(resume) = resume else { return self.enter(outlet, source, device) };
        match self.resume(outlet, resume) {
            Ok(attached) => {
                self.metrics.resumes.with_label_values(&["resumed"]).inc();
                Ok(attached)
            }
            Err((outlet, result)) => {
                self.metrics.resumes.with_label_values(&[result]).inc();
                self.enter(outlet, source, device)
            }
        }
    }

    /// A socket has closed. Its session waits for another, unless another has taken over already.
    pub(crate) fn detach(&self, attached: Attached) {
        self.step(|state, now, next_pair| {
            let Some(session) = state.attached(attached) else { return };
            session.outbox.detach();
            let place = self.absent.enter(session.source).filter(|_| !session.outbox.is_torn());
            let Some(place) = place else {
                self.end(state, now, attached.id, next_pair);
                return;
            };
            let away = Away::new(now, self.pair_grace, self.resume_for, place);
            let due = away.next();
            session.away = Some(away);
            state.absences.look_at(due, attached.id);
            state.matching.away(now, attached.id, next_pair);
            self.tell_partner(state, now, attached.id, PeerPresence::Reconnecting);
        });
    }

    /// A session ends, because its client said so or is not worth waiting for; its pair is lost.
    pub(crate) fn exit(&self, attached: Attached) {
        self.step(|state, now, next_pair| {
            if state.attached(attached).is_some() {
                self.end(state, now, attached.id, next_pair);
            }
        });
    }

    /// The outlet comes back with the reason when there is nothing to go on with.
    fn resume(&self, outlet: Outlet, resume: Resume) -> Result<Attached, (Outlet, &'static str)> {
        self.step(|state, now, next_pair| {
            let Some(id) = state.by_resume.get(&resume.id).copied() else { return Err((outlet, "unknown")) };
            let reaches = state.sessions.get(&id).is_some_and(|s| s.outbox.reaches(resume.last_seq));
            if !reaches {
                self.end(state, now, id, next_pair);
                return Err((outlet, "gap"));
            }
            let member = state.matching.membership(id);
            let session = state.sessions.get_mut(&id).expect("a session that reaches is there");
            let was_away = session.away.take().is_some();
            let waits = session.waits_since.is_some();
            let greeting = ServerEvent::SessionResumed {
                state: match member {
                    Some(Membership { started: true, .. }) => SessionState::Active,
                    Some(_) => SessionState::Offered,
                    None if waits => SessionState::Waiting,
                    None => SessionState::Idle,
                },
                pair: member.map(|member| member.pair),
                last_client_seq: session.next_signal - 1,
            };
            let missed = session.outbox.attach(outlet, resume.last_seq, &greeting);
            let attached = Attached::new(id, session.outbox.attachment());
            tracing::debug!(session = %id, missed, "session resumed");
            if was_away {
                state.matching.back(now, id, next_pair);
                self.tell_partner(state, now, id, PeerPresence::Back);
            }
            Ok(attached)
        })
    }

    /// Looks at the sessions that are away for as long as their pair, or they themselves, may wait.
    pub(super) fn look_at_absences(&self, state: &mut State, now: Duration, next_pair: &mut NextPair) {
        while let Some(id) = state.absences.pop(now) {
            self.look_for_lost_partner(state, now, id, next_pair);
            let Some(session) = state.sessions.get(&id) else { continue };
            let Some(away) = &session.away else { continue };
            let (pair_until, until) = (away.pair_until, away.until);
            if until <= now || session.outbox.is_torn() {
                self.end(state, now, id, next_pair);
            } else if pair_until <= now {
                state.matching.lose(now, id, next_pair);
                state.absences.look_at(until, id);
            }
        }
    }

    pub(super) fn end(&self, state: &mut State, now: Duration, id: Id, next_pair: &mut NextPair) {
        state.matching.exit(now, id, next_pair);
        if let Some(session) = state.sessions.remove(&id) {
            state.by_token.remove(&session.token);
            state.by_resume.remove(&session.resume);
            if let Some(shared) = &state.shared {
                shared.disown(id, session.resume);
            }
            self.waited(session.waits_since, now, "left");
            session.outbox.close();
        }
    }

    fn tell_partner(&self, state: &mut State, now: Duration, id: Id, presence: PeerPresence) {
        let Some(member) = state.matching.membership(id).filter(|member| member.started) else { return };
        self.pass_on(state, now, id, member, Said::Presence { state: presence });
    }
}

impl Attached {
    pub(super) fn new(id: Id, nth: u64) -> Self {
        Self { id, nth }
    }
}

impl State {
    /// The session, while this socket speaks for it.
    fn attached(&mut self, attached: Attached) -> Option<&mut Session> {
        let session = self.sessions.get_mut(&attached.id)?;
        (session.outbox.attachment() == attached.nth).then_some(session)
    }
}
