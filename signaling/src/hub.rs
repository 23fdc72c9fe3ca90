//! All state of one node in memory: sessions, the queue, pairs. The only authority on who is in which pair.
//!
//! One lock guards it. What a step makes known is emitted under that lock, so that every session hears of it in the order
//! in which it happened, numbered without a gap.

mod across;
mod call;
mod chat;
mod everywhere;
mod handover;
mod moderated;
mod negotiation;
mod outbox;
mod presence;

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, TryLockError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use rand::Rng as _;
use tokio::sync::{Notify, oneshot, watch};
use tokio_util::sync::CancellationToken;
use turnpike_config::Config;
use turnpike_matching::{Event, Id, Left, Matching, Mode, Role, Rules};

pub(crate) use self::across::Stores;
use self::{
    across::Said,
    call::{Call, Path},
    chat::SentLines,
    moderated::Partners,
    negotiation::Negotiation,
    outbox::{Emitted, Outbox},
    presence::{Absences, Away},
};
pub(crate) use self::{handover::Handover, outbox::Outlet, presence::Attached};
use crate::{
    clock::Clock,
    contract::{
        Ack, ErrorCode, Ice, Limits, MAX_CANDIDATE_BYTES, MAX_CANDIDATES, MAX_INTEREST_CHARS, MAX_INTERESTS,
        MAX_SDP_BYTES, PairStats, Privacy, QueueJoin, ServerEvent, Signal, SignalBody,
    },
    ice::IceSource,
    limit::{Bucket, Connections},
    metrics::{Metrics, OUT},
    moderation::{Moderation, Person},
    privacy, random,
    relay_revoke::EndedPairs,
    store::Shared,
};

/// Events of one client in a second, and at once.
const EVENTS: (u32, u32) = (20, 60);
/// `match.next` of one client in a second, and at once.
const NEXTS: (u32, u32) = (1, 5);
/// When clients of a draining node come back, in milliseconds: spread, so that another node is not overrun.
const RECONNECT_MS: std::ops::Range<u64> = 1_000..10_000;

/// The state of one node.
pub(crate) struct Hub {
    state: Mutex<State>,
    ice: Arc<IceSource>,
    metrics: Arc<Metrics>,
    /// Where ended pairs go, when this node has a relay of its own.
    ended_pairs: Option<EndedPairs>,
    moderation: Arc<Moderation>,
    clock: Clock,
    node: String,
    rules: Rules,
    accept_within: Duration,
    resume_for: Duration,
    pair_grace: Duration,
    /// Sessions without a socket, limited as sockets are.
    absent: Arc<Connections>,
    /// The next thing to do by itself may be nearer than it was.
    sooner: Notify,
    /// A pair has ended.
    pair_ended: Notify,
    /// Whether the store that nodes share is there; `None` when nothing is shared.
    shares: watch::Sender<Option<bool>>,
    /// This node's part has ended: what its sockets still carry is the next one's.
    over: AtomicBool,
}

struct State {
    matching: Matching,
    sessions: HashMap<Id, Session>,
    by_token: HashMap<Id, Id>,
    by_resume: HashMap<Id, Id>,
    absences: Absences,
    calls: HashMap<Id, Call>,
    draining: bool,
    /// The part in the store that nodes share.
    shared: Option<Shared>,
    /// Sockets that wait for a session of another node, by ticket.
    awaited: HashMap<u64, oneshot::Sender<()>>,
    tickets: u64,
}

struct Session {
    outbox: Outbox,
    token: Id,
    /// What a new socket names to go on with this session.
    resume: Id,
    source: IpAddr,
    /// The browser that it is of, by its label.
    device: Option<Id>,
    partners: Partners,
    /// While it has no socket.
    away: Option<Away>,
    privacy: Privacy,
    events: Bucket,
    nexts: Bucket,
    /// The `seq` of the next `signal`.
    next_signal: u64,
    negotiation: Negotiation,
    /// The partner's, where that one is of another node.
    theirs: Negotiation,
    /// When its pair is lost, while the partner's client is on its way to another node.
    partner_until: Option<Duration>,
    lines: SentLines,
    /// Since when it waits, while it does.
    waits_since: Option<Duration>,
}

type NextPair = fn() -> Id;

/// Leave to go on with an event, or how long to wait.
pub(crate) type Paced = Result<(), Duration>;

impl Hub {
    pub(crate) fn new(
        config: &Config,
        ice: Arc<IceSource>,
        metrics: Arc<Metrics>,
        ended_pairs: Option<EndedPairs>,
        moderation: Arc<Moderation>,
        clock: Clock,
    ) -> Self {
        let rules = Rules {
            widen_after: config.signaling.widen_after,
            accept_within: config.signaling.accept_within,
            rematch_after: config.signaling.rematch_after,
        };
        Self {
            state: Mutex::new(State::new(rules)),
            ice,
            metrics,
            ended_pairs,
            moderation,
            clock,
            node: config.node.name.clone(),
            rules,
            accept_within: config.signaling.accept_within,
            resume_for: config.signaling.resume_for,
            pair_grace: config.signaling.pair_grace,
            absent: Arc::new(Connections::new(
                config.signaling.max_sockets,
                config.signaling.max_sockets_per_ip,
            )),
            sooner: Notify::new(),
            pair_ended: Notify::new(),
            shares: watch::Sender::new(None),
            over: AtomicBool::new(false),
        }
    }

    /// A session begins and is greeted.
    fn enter(&self, outlet: Outlet, source: IpAddr, device: Option<Id>) -> Result<Attached, ErrorCode> {
        let now = self.clock.mono();
        let mut state = self.lock();
        if state.draining {
            return Err(ErrorCode::Draining);
        }
        let (id, token, resume) = (random::id(), random::id(), random::id());
        state.matching.enter(id);
        if let Some(device) = device {
            state.matching.introduce(id, device);
        }
        state.by_token.insert(token, id);
        state.by_resume.insert(resume, id);
        if let Some(shared) = &state.shared {
            shared.own(id, resume);
        }
        let session = Session {
            outbox: Outbox::new(outlet),
            token,
            resume,
            source,
            device,
            partners: Partners::default(),
            away: None,
            privacy: Privacy::All,
            events: Bucket::new(EVENTS.0, EVENTS.1),
            nexts: Bucket::new(NEXTS.0, NEXTS.1),
            next_signal: 1,
            negotiation: Negotiation::default(),
            theirs: Negotiation::default(),
            partner_until: None,
            lines: SentLines::default(),
            waits_since: None,
        };
        let attached = Attached::new(id, session.outbox.attachment());
        state.sessions.insert(id, session);
        let hello = ServerEvent::Hello {
            session: id,
            resume,
            resume_ttl: self.resume_for.as_secs(),
            token,
            ice: self.ice.stun_only(),
            limits: Limits { budget: self.ice.budget(), ..LIMITS },
            online: state.sessions.len(),
            node: self.node.clone(),
        };
        self.emit(&mut state, now, id, &hello);
        Ok(attached)
    }

    /// Whether somebody is kept out.
    pub(crate) fn is_banned(&self, person: &Person) -> bool {
        self.moderation.ban_of(person).is_some()
    }

    /// These people are never matched.
    pub(crate) fn keep_apart(&self, blocks: impl IntoIterator<Item = (Id, Id)>) {
        let mut state = self.lock();
        blocks.into_iter().for_each(|(one, other)| state.matching.keep_apart(one, other));
    }

    /// Counts an event of a client against its rates.
    pub(crate) fn pace(&self, id: Id, is_next: bool) -> Paced {
        let now = self.clock.mono();
        let mut state = self.lock();
        let Some(session) = state.sessions.get_mut(&id) else { return Ok(()) };
        session.events.take(now)?;
        if is_next { session.nexts.take(now) } else { Ok(()) }
    }

    pub(crate) fn join(&self, id: Id, join: &QueueJoin) -> Ack {
        self.step(|state, now, next_pair| {
            let before = state.privacy(id).map(|privacy| std::mem::replace(privacy, join.privacy));
            let joined = state.matching.join(now, id, join.wishes(), next_pair);
            if let (Err(_), Some(before), Some(privacy)) = (joined, before, state.privacy(id)) {
                *privacy = before;
            }
            joined.into()
        })
    }

    pub(crate) fn leave(&self, id: Id) -> Ack {
        self.step(|state, now, next_pair| {
            let left = state.matching.leave(now, id, next_pair);
            let result = match left {
                Left::Queue => "left",
                Left::Pair => "ended",
                Left::Nothing => "none",
            };
            if let Some(session) = state.sessions.get_mut(&id).filter(|_| left == Left::Queue) {
                let since = session.waits_since.take();
                self.waited(since, now, "left");
            }
            Ack { result: Some(result), ..Ack::done() }
        })
    }

    pub(crate) fn accept(&self, id: Id, pair: Id) -> Ack {
        self.step(|state, _, _| state.matching.accept(id, pair).into())
    }

    pub(crate) fn leave_pair(&self, id: Id, pair: Id) -> Ack {
        self.step(|state, now, next_pair| state.matching.leave_pair(now, id, pair, next_pair).into())
    }

    pub(crate) fn next(&self, id: Id, pair: Id, join: Option<&QueueJoin>) -> Ack {
        self.step(|state, now, next_pair| {
            let is_member = state.matching.membership(id).is_some_and(|member| member.pair == pair);
            if let (Some(join), Some(privacy), true) = (join, state.privacy(id), is_member) {
                *privacy = join.privacy;
            }
            state.matching.next(now, id, pair, join.map(QueueJoin::wishes), next_pair).into()
        })
    }

    /// Passes a step of the negotiation on to the partner.
    pub(crate) fn signal(&self, id: Id, signal: Signal) -> Ack {
        let now = self.clock.mono();
        let mut state = self.lock();
        let state = &mut *state;
        let Some(session) = state.sessions.get_mut(&id) else { return Ack::refused(ErrorCode::NotInPair) };
        if signal.seq != session.next_signal {
            return match signal.seq < session.next_signal {
                true => Ack { duplicate: Some(true), ..Ack::done() },
                false => {
                    Ack { expected_seq: Some(session.next_signal), ..Ack::refused(ErrorCode::OutOfOrder) }
                }
            };
        }
        session.next_signal += 1;
        let member = state.matching.membership(id).filter(|member| member.pair == signal.pair);
        let Some(member) = member else { return Ack::refused(ErrorCode::NotInPair) };
        if !member.started {
            return Ack::refused(ErrorCode::WrongState);
        }
        let (own, allowed) = match state.sessions.get_disjoint_mut([&id, &member.partner]) {
            [Some(own), theirs] => {
                let Session { negotiation, theirs: elsewhere, .. } = own;
                let theirs = theirs.map_or(elsewhere, |theirs| &mut theirs.negotiation);
                let allowed = negotiation.check(theirs, member.role, signal.generation, &signal.body);
                (own, allowed)
            }
            [None, _] => return Ack::refused(ErrorCode::NotInPair),
        };
        if let Err(code) = allowed {
            return Ack::refused(code);
        }
        let kind = kind_of(&signal.body);
        let body = match own.privacy {
            Privacy::All => Some(signal.body),
            Privacy::Relay => privacy::hide_address(signal.body),
        };
        match body {
            None => self.metrics.messages_dropped.with_label_values(&[kind, "hidden"]).inc(),
            Some(body) => {
                let said = Said::Signal { generation: signal.generation, body };
                let counter = match self.pass_on(state, now, id, member, said) {
                    true => self.metrics.messages_relayed.with_label_values(&[kind]),
                    false => self.metrics.messages_dropped.with_label_values(&[kind, "slow_client"]),
                };
                counter.inc();
            }
        }
        Ack::done()
    }

    pub(crate) fn stats(&self, id: Id, pair: Id, stats: &PairStats) -> Ack {
        let mut state = self.lock();
        let member =
            state.matching.membership(id).is_some_and(|member| member.pair == pair && member.started);
        let Some(call) = state.calls.get_mut(&pair).filter(|_| member) else {
            return Ack::refused(ErrorCode::NotInPair);
        };
        call.report(Path::of(stats));
        if let PairStats::Connected { local, remote, relay_protocol, ttfm_ms, rtt_ms, .. } = stats {
            tracing::info!(
                %pair,
                ?local,
                ?remote,
                ?relay_protocol,
                first_media_ms = ttfm_ms.0,
                round_trip_ms = rtt_ms.map(|ms| ms.0),
                "call connected"
            );
        }
        Ack::done()
    }

    /// A fresh configuration: with TURN while in a pair.
    pub(crate) fn refresh(&self, id: Id, pair: Option<Id>) -> Ack {
        let mut state = self.lock();
        let member = state.matching.membership(id);
        if pair.is_some() && member.map(|member| member.pair) != pair {
            return Ack::refused(ErrorCode::NotInPair);
        }
        let privacy = state.privacy(id).map_or(Privacy::All, |privacy| *privacy);
        let ice = match member {
            Some(member) => self.ice_for(&mut state, id, member.pair, privacy, "refresh"),
            None => self.ice.stun_only(),
        };
        Ack { ice: Some(ice), ..Ack::done() }
    }

    /// The configuration for the holder of a session's token: with TURN while in a pair. `None` for an unknown token.
    pub(crate) fn ice_of_token(&self, token: Id) -> Option<Ice> {
        let mut state = self.lock();
        let id = *state.by_token.get(&token)?;
        let privacy = *state.privacy(id)?;
        Some(match state.matching.membership(id) {
            Some(member) => self.ice_for(&mut state, id, member.pair, privacy, "rest"),
            None => self.ice.stun_only(),
        })
    }

    /// From now on nobody enters and nobody is paired; all are told when to come back, spread over time.
    pub(crate) fn drain(&self) {
        let mut state = self.lock();
        if std::mem::replace(&mut state.draining, true) {
            return;
        }
        state.matching.drain();
        let now = self.clock.mono();
        for session in state.sessions.values_mut() {
            let since = session.waits_since.take();
            self.waited(since, now, "left");
        }
        for id in state.sessions.keys().copied().collect::<Vec<_>>() {
            let reconnect_in_ms = rand::rng().random_range(RECONNECT_MS);
            self.emit(&mut state, now, id, &ServerEvent::Notice { kind: "draining", reconnect_in_ms });
        }
        self.pair_ended.notify_waiters();
    }

    pub(crate) fn is_draining(&self) -> bool {
        self.lock().draining
    }

    /// Whether this node's part has ended: its clients are to come to the next one.
    pub(crate) fn is_over(&self) -> bool {
        self.over.load(Ordering::Acquire)
    }

    /// Waits until no pair is left.
    pub(crate) async fn until_no_pairs(&self) {
        loop {
            let ended = self.pair_ended.notified();
            if self.lock().calls.is_empty() {
                return;
            }
            ended.await;
        }
    }

    /// Tells both sides of every pair that the node ends. Their credentials serve on: media needs no signaling.
    pub(crate) fn end_all(&self) {
        let now = self.clock.mono();
        let mut state = self.lock();
        for id in state.sessions.keys().copied().collect::<Vec<_>>() {
            if let Some(member) = state.matching.membership(id) {
                let reason = crate::contract::EndReason::Drain;
                let ended = ServerEvent::MatchEnded { pair: member.pair, reason, state: "idle" };
                self.emit(&mut state, now, id, &ended);
            }
        }
        for (_, call) in state.calls.drain() {
            self.metrics.pairs_ended.with_label_values(&["drain"]).inc();
            self.call_ended(&call);
        }
        self.gauge(&state);
    }

    /// Does what becomes due, until stopped.
    pub(crate) async fn run(&self, stop: CancellationToken) {
        let running = async {
            loop {
                let sooner = self.sooner.notified();
                let due = self.lock().next_due();
                match due {
                    Some(due) => {
                        let due = tokio::time::Instant::from_std(self.clock.instant(due));
                        let _ = tokio::time::timeout_at(due, sooner).await;
                    }
                    None => sooner.await,
                }
                self.step(|state, now, next_pair| {
                    state.matching.handle_timeout(now, next_pair);
                    self.look_at_absences(state, now, next_pair);
                });
            }
        };
        stop.run_until_cancelled(running).await;
    }

    /// Takes one step of the matching and makes known what came of it.
    fn step<T>(&self, step: impl FnOnce(&mut State, Duration, &mut NextPair) -> T) -> T {
        let now = self.clock.mono();
        let mut state = self.lock();
        let due = state.next_due();
        let mut next_pair: NextPair = random::id;
        let result = step(&mut state, now, &mut next_pair);
        self.make_all_known(&mut state, now);
        self.gauge(&state);
        if state.next_due().is_some_and(|next| due.is_none_or(|due| next < due)) {
            self.sooner.notify_one();
        }
        result
    }

    fn make_all_known(&self, state: &mut State, now: Duration) {
        while let Some(event) = state.matching.poll_event() {
            self.make_known(state, now, event);
        }
        if let State { shared: Some(shared), matching, .. } = state {
            shared.tell(matching, now);
        }
    }

    fn make_known(&self, state: &mut State, now: Duration, event: Event) {
        match event {
            Event::Waiting { session, since, widened } => {
                if let Some(entry) = state.sessions.get_mut(&session) {
                    entry.waits_since = Some(since);
                }
                let since = (self.clock.unix() - (now - since)).as_millis() as u64;
                self.emit(state, now, session, &ServerEvent::QueueState { state: "waiting", since, widened });
            }
            Event::Found { session, pair, role, common } => {
                let Some(entry) = state.sessions.get_mut(&session) else { return };
                let (since, privacy) = (entry.waits_since.take(), entry.privacy);
                self.waited(since, now, "found");
                entry.negotiation = Negotiation::default();
                entry.theirs = Negotiation::default();
                entry.partner_until = None;
                state.calls.entry(pair).or_insert_with(Call::new);
                if role == Role::Initiator {
                    let partner = state.matching.membership(session).map(|member| member.partner);
                    let local = partner.is_some_and(|partner| state.sessions.contains_key(&partner));
                    let scope = if local { "local" } else { "across" };
                    self.metrics.pairs_created.with_label_values(&[scope]).inc();
                }
                let found = ServerEvent::MatchFound {
                    pair,
                    role,
                    polite: role == Role::Responder,
                    common,
                    ice: self.ice_for(state, session, pair, privacy, "pair"),
                    deadline_ms: self.accept_within.as_millis() as u64,
                };
                self.emit(state, now, session, &found);
            }
            Event::Started { session, pair } => {
                if let Some(call) = state.calls.get_mut(&pair)
                    && call.start(now)
                {
                    self.have_met(state, now, pair);
                }
                self.emit(state, now, session, &ServerEvent::MatchStart { pair });
            }
            Event::Ended { session, pair, reason, waiting, .. } => {
                let reason = crate::contract::EndReason::from(reason);
                if let Some(call) = state.calls.remove(&pair) {
                    self.metrics.pairs_ended.with_label_values(&[reason.name()]).inc();
                    self.call_ended(&call);
                    self.tell_relay(pair, &call);
                    self.pair_ended.notify_waiters();
                }
                if let Some(entry) = state.sessions.get_mut(&session) {
                    entry.partners.ended(now, pair);
                }
                let next = if waiting { "waiting" } else { "idle" };
                self.emit(state, now, session, &ServerEvent::MatchEnded { pair, reason, state: next });
            }
        }
    }

    /// The credentials of a pair that has ended serve nobody any more.
    fn tell_relay(&self, pair: Id, call: &Call) {
        if let (Some(ended), Some(until)) = (&self.ended_pairs, call.credentials_until()) {
            ended.put(pair, until);
        }
    }

    fn call_ended(&self, call: &Call) {
        if let Some(started) = call.started() {
            let lasted = self.clock.mono().saturating_sub(started);
            self.metrics.pair_duration.observe(lasted.as_secs_f64());
            self.metrics.pair_path.with_label_values(&[call.path().name()]).inc();
        }
    }

    fn ice_for(&self, state: &mut State, session: Id, pair: Id, privacy: Privacy, dialect: &str) -> Ice {
        let ice = self.ice.for_pair(session, pair, privacy);
        if let Some(call) = state.calls.get_mut(&pair) {
            call.minted(ice.expires_at);
        }
        let result = if ice.ttl.is_some() { "minted" } else { "unavailable" };
        self.metrics.credentials_minted.with_label_values(&[dialect, result]).inc();
        ice
    }

    fn waited(&self, since: Option<Duration>, now: Duration, outcome: &str) {
        if let Some(since) = since {
            let waited = now.saturating_sub(since).as_secs_f64();
            self.metrics.queue_wait.with_label_values(&[outcome]).observe(waited);
        }
    }

    /// Emits an event in its turn, to the socket or to the one to come; false when the session is gone or cannot take it.
    fn emit(&self, state: &mut State, now: Duration, session: Id, event: &ServerEvent) -> bool {
        let Some(entry) = state.sessions.get_mut(&session) else { return false };
        match entry.outbox.emit(now, event) {
            Emitted::Sent => self.metrics.socket_events.with_label_values(OUT).inc(),
            Emitted::Kept => {}
            Emitted::Lost => {
                state.absences.look_at(now, session);
                self.sooner.notify_one();
                return false;
            }
        }
        true
    }

    fn gauge(&self, state: &State) {
        for mode in Mode::ALL {
            let waiting = state.matching.waiting_for(mode) as i64;
            self.metrics.queue_waiting.with_label_values(&[mode.name()]).set(waiting);
        }
        self.metrics.pairs.set(state.matching.pairs().0 as i64);
    }

    /// Nobody holds the state at the moment.
    pub(crate) fn is_free(&self) -> bool {
        !matches!(self.state.try_lock(), Err(TryLockError::WouldBlock))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn new(rules: Rules) -> Self {
        Self {
            matching: Matching::new(rules),
            sessions: HashMap::new(),
            by_token: HashMap::new(),
            by_resume: HashMap::new(),
            absences: Absences::default(),
            calls: HashMap::new(),
            draining: false,
            shared: None,
            awaited: HashMap::new(),
            tickets: 0,
        }
    }

    /// When something becomes due by itself.
    fn next_due(&self) -> Option<Duration> {
        self.matching.poll_timeout().into_iter().chain(self.absences.next()).min()
    }

    fn privacy(&mut self, id: Id) -> Option<&mut Privacy> {
        self.sessions.get_mut(&id).map(|session| &mut session.privacy)
    }
}

const LIMITS: Limits = Limits {
    interests: MAX_INTERESTS,
    interest_chars: MAX_INTEREST_CHARS,
    sdp_bytes: MAX_SDP_BYTES,
    candidate_bytes: MAX_CANDIDATE_BYTES,
    candidates_per_generation: MAX_CANDIDATES,
    events_per_second: EVENTS.0,
    event_burst: EVENTS.1,
    next_per_second: NEXTS.0,
    next_burst: NEXTS.1,
    budget: None,
};

fn kind_of(body: &SignalBody) -> &'static str {
    match body {
        SignalBody::Description(_) => "description",
        SignalBody::Candidates(_) => "candidates",
        SignalBody::End(_) => "end",
    }
}
