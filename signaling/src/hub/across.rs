//! Pairs with a session of another node, and sessions that go from node to node.

use std::{net::IpAddr, sync::Arc, time::Duration};

use serde::{Deserialize, Serialize};
use tokio::{sync::oneshot, time::timeout};
use tokio_util::sync::CancellationToken;
use turnpike_matching::{Id, Membership, Role};

use super::{Hub, Negotiation, NextPair, State, handover::Traveller};
use crate::{
    contract::{PeerPresence, ServerEvent, SignalBody, WireId},
    moderation::Person,
    store::{self, Heard, News, Outgoing, Place, Shared, Watch},
};

/// A client that names a session of another node waits this long for it.
const HANDED_WITHIN: Duration = Duration::from_secs(3);
/// And so long, after a start, for the store that nodes share.
const SHARED_WITHIN: Duration = Duration::from_secs(2);
const FLUSHED_WITHIN: Duration = Duration::from_secs(2);

/// What one side of a pair says to the other.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Said {
    Signal {
        generation: u32,
        body: SignalBody,
    },
    Chat {
        id: String,
        text: String,
    },
    Typing {
        on: bool,
    },
    Presence {
        state: PeerPresence,
    },
    /// For the partner's node alone: whom it may report.
    Who {
        device: Option<WireId>,
        network: IpAddr,
    },
}

impl Said {
    /// What the partner's client hears of it.
    fn event(self, pair: Id, grace: Duration) -> Option<ServerEvent> {
        Some(match self {
            Self::Who { .. } => return None,
            Self::Signal { generation, body } => ServerEvent::Signal { pair, generation, body },
            Self::Chat { id, text } => ServerEvent::ChatMessage { pair, id, text },
            Self::Typing { on } => ServerEvent::ChatTyping { pair, on },
            Self::Presence { state } => {
                ServerEvent::PeerState { pair, state, grace_ms: grace.as_millis() as u64 }
            }
        })
    }
}

/// The way to the store that nodes share, to be run beside the hub.
pub(crate) struct Stores {
    place: Place,
    node: Id,
    outgoing: Outgoing,
}

impl Stores {
    pub(crate) async fn run(self, hub: Arc<Hub>, stop: CancellationToken) {
        let Self { place, node, outgoing } = self;
        store::run(place, node, hub.accept_within, outgoing, &*hub, stop).await;
    }
}

impl Watch for Hub {
    fn news(&self, news: News) {
        let words = self.step(|state, now, next_pair| {
            let State { shared: Some(shared), matching, .. } = state else { return Vec::new() };
            let heard = shared.take(matching, now, news, next_pair);
            let up = Some(shared.is_up());
            let mut words = Vec::new();
            for heard in heard {
                if let Heard::ToAll { what } = heard {
                    words.push(what);
                    continue;
                }
                self.heard(state, now, heard, next_pair);
            }
            if self.shares.send_if_modified(|known| std::mem::replace(known, up) != up) {
                self.metrics.redis_up.set(i64::from(up == Some(true)));
            }
            words
        });
        words.iter().for_each(|word| self.hear_of_all(word));
    }

    fn took(&self, time: Duration) {
        self.metrics.redis_command_seconds.observe(time.as_secs_f64());
    }

    fn failed(&self, what: &'static str) {
        self.metrics.redis_errors.with_label_values(&[what]).inc();
    }
}

impl Hub {
    /// From now on strangers of all nodes meet, once this has been run.
    pub(crate) fn share(&self, node: Id, place: Place) -> Stores {
        let (shared, outgoing) = Shared::new(node);
        self.lock().shared = Some(shared);
        self.shares.send_replace(Some(false));
        self.metrics.share();
        Stores { place, node, outgoing }
    }

    /// Whether the store that nodes share is there; `None` when nothing is shared.
    pub(crate) fn shares(&self) -> Option<bool> {
        *self.shares.borrow()
    }

    /// Another node may have the session that a client names.
    pub(crate) fn is_elsewhere(&self, resume: Id) -> bool {
        self.shares().is_some() && !self.lock().by_resume.contains_key(&resume)
    }

    /// Brings a session of another node here, where there is one that a client names.
    pub(crate) async fn fetch(&self, resume: Id) {
        let mut shares = self.shares.subscribe();
        let _ = timeout(SHARED_WITHIN, shares.wait_for(|shares| *shares != Some(false))).await;
        let (ticket, handed) = {
            let mut state = self.lock();
            state.tickets += 1;
            let ticket = state.tickets;
            if !state.shared.as_ref().is_some_and(|shared| shared.claim(resume, ticket)) {
                return;
            }
            let (done, handed) = oneshot::channel();
            state.awaited.insert(ticket, done);
            (ticket, handed)
        };
        if timeout(HANDED_WITHIN, handed).await.is_err() {
            self.lock().awaited.remove(&ticket);
        }
    }

    /// Leaves all sessions to the other nodes, or to the next start; false when they cannot be left there.
    pub(crate) async fn leave_to_others(&self) -> bool {
        if self.shares() != Some(true) {
            return false;
        }
        let flushed = self.leave_behind_for_any();
        timeout(FLUSHED_WITHIN, flushed).await.is_ok_and(|flushed| flushed.is_ok())
    }

    /// Brings something to the partner, wherever that is; false when it cannot take it.
    pub(super) fn pass_on(
        &self,
        state: &mut State,
        now: Duration,
        from: Id,
        member: Membership,
        said: Said,
    ) -> bool {
        if state.sessions.contains_key(&member.partner) {
            let event = said.event(member.pair, self.pair_grace);
            return event.is_none_or(|event| self.emit(state, now, member.partner, &event));
        }
        let body = serde_json::to_string(&said).expect("what is said is JSON");
        let taken = state.shared.as_mut().is_some_and(|shared| shared.say(member.pair, body));
        if !taken && let Some(session) = state.sessions.get_mut(&from) {
            // As with a slow client: the pair is over rather than incomplete.
            session.partner_until = Some(now);
            state.absences.look_at(now, from);
            self.sooner.notify_one();
        }
        taken
    }

    /// A partner whose client did not come back to any node in time is lost.
    pub(super) fn look_for_lost_partner(
        &self,
        state: &mut State,
        now: Duration,
        id: Id,
        next_pair: &mut NextPair,
    ) {
        let Some(session) = state.sessions.get_mut(&id) else { return };
        if session.partner_until.take_if(|until| *until <= now).is_some() {
            state.matching.lose(now, id, next_pair);
        }
    }

    fn heard(&self, state: &mut State, now: Duration, heard: Heard, next_pair: &mut NextPair) {
        match heard {
            Heard::Said { session, pair, body } => self.said(state, now, session, pair, &body),
            Heard::PartnerGone { session, pair } => {
                let until = now + self.pair_grace;
                if let Some(entry) = state.sessions.get_mut(&session) {
                    entry.partner_until = Some(until);
                }
                state.absences.look_at(until, session);
                let said = Said::Presence { state: PeerPresence::Reconnecting };
                if let Some(event) = said.event(pair, self.pair_grace) {
                    self.emit(state, now, session, &event);
                }
            }
            Heard::PartnerBack { session, .. } => {
                if let Some(entry) = state.sessions.get_mut(&session) {
                    entry.partner_until = None;
                }
            }
            Heard::Claimed { resume, node, ticket } => {
                let traveller = self.depart(state, now, resume, node, next_pair);
                if let Some(shared) = &state.shared {
                    let session = traveller.and_then(|traveller| serde_json::to_string(&traveller).ok());
                    shared.hand(node, ticket, session);
                }
            }
            Heard::Handed { ticket, session } => {
                let traveller = session.and_then(|text| serde_json::from_str::<Traveller>(&text).ok());
                if let Some(traveller) = traveller {
                    self.arrive(state, now, traveller);
                }
                if let Some(awaited) = state.awaited.remove(&ticket) {
                    let _ = awaited.send(());
                }
            }
            // Taken once the state is free again.
            Heard::ToAll { .. } => {}
            Heard::Own => {
                if let Some(shared) = &state.shared {
                    state.sessions.iter().for_each(|(id, session)| shared.own(*id, session.resume));
                }
            }
        }
    }

    /// Something that the partner says on another node.
    pub(super) fn said(&self, state: &mut State, now: Duration, session: Id, pair: Id, body: &str) {
        let Ok(said) = serde_json::from_str::<Said>(body) else { return };
        let Some(member) = state.matching.membership(session).filter(|member| member.pair == pair) else {
            return;
        };
        let Some(entry) = state.sessions.get_mut(&session) else { return };
        match &said {
            Said::Signal { generation, body } => {
                let role = if member.role == Role::Initiator { Role::Responder } else { Role::Initiator };
                // Its own node has checked it: this follows how far the partner is.
                let _ = entry.theirs.check(&mut entry.negotiation, role, *generation, body);
            }
            // Who is away would hear of it too late to care.
            Said::Typing { .. } if entry.away.is_some() => return,
            Said::Who { device, network } => {
                let who = Person { device: device.map(|device| device.0), network: *network };
                entry.partners.met(pair, member.partner, who);
            }
            Said::Typing { .. } | Said::Chat { .. } | Said::Presence { .. } => {}
        }
        if let Some(event) = said.event(pair, self.pair_grace) {
            self.emit(state, now, session, &event);
        }
    }

    /// What the partner's node knows of the negotiation goes along with a session.
    pub(super) fn negotiations(state: &mut State, session: Id, partner: Id) -> Negotiation {
        match state.sessions.get_disjoint_mut([&session, &partner]) {
            [Some(own), Some(theirs)] => {
                theirs.theirs = own.negotiation.clone();
                theirs.negotiation.clone()
            }
            [Some(own), None] => own.theirs.clone(),
            [None, _] => Negotiation::default(),
        }
    }
}
