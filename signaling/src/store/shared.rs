//! One node's part in the store that nodes share: pure, with the time as an input.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    sync::Arc,
    time::Duration,
};

use serde::{Deserialize, Serialize};
use tokio::sync::{Notify, mpsc, oneshot};
use turnpike_matching::{Ended, Found, Id, Matching, Order, Role};

use super::{
    News, Outgoing,
    channel::{Channel, Numbered},
    note::{self, Command, Left, Note},
};
use crate::{contract::WireId, random};

/// What waits to be told to Redis; past it the connection begins anew, which tells all again.
const WAITING: usize = 65_536;
/// After Redis was away others need some time to show that they live.
const SHOW_LIFE_WITHIN: Duration = Duration::from_secs(10);
/// Who waits is told again every so many beats, and who owns which session every so many.
const RENEW_EVERY: u64 = 7;
const OWN_EVERY: u64 = 600;
/// Pairs whose side went to another node; what still comes for it is sent on.
const REMEMBERED: usize = 4_096;

/// What a node shares with others.
#[derive(Debug)]
pub struct Shared {
    node: Id,
    out: mpsc::Sender<Command>,
    up_since: Option<Duration>,
    beats: u64,
    across: HashMap<Id, Across>,
    went: VecDeque<(Id, Id)>,
    overrun: Arc<Notify>,
}

/// A pair with a session of another node.
#[derive(Debug)]
struct Across {
    /// The side of this node.
    session: Id,
    /// Which node speaks for the partner; `None` while its client is on its way to another one.
    node: Option<Id>,
    channel: Channel,
    /// The last beat has asked whether all has come.
    asked: bool,
}

impl Across {
    fn new(session: Id, node: Option<Id>, channel: Channel) -> Self {
        Self { session, node, channel, asked: false }
    }
}

/// One side of a pair on its way to another node.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Passage {
    /// The node of the partner; `None` when that side is on its way as well.
    node: Option<WireId>,
    channel: Channel,
}

/// What is left for the hub to do.
#[derive(Debug, PartialEq, Eq)]
pub enum Heard {
    /// The partner says something.
    Said {
        /// To whom.
        session: Id,
        /// The pair.
        pair: Id,
        /// What.
        body: String,
    },
    /// The partner's node stops, and its client is on its way to another one.
    PartnerGone {
        /// Whose.
        session: Id,
        /// The pair.
        pair: Id,
    },
    /// The partner is at a node again.
    PartnerBack {
        /// Whose.
        session: Id,
        /// The pair.
        pair: Id,
    },
    /// A client with this session has come to another node.
    Claimed {
        /// What it named.
        resume: Id,
        /// Where it is.
        node: Id,
        /// What the answer names.
        ticket: u64,
    },
    /// The session that was asked for, when there is one.
    Handed {
        /// What was asked with.
        ticket: u64,
        /// As it was left.
        session: Option<String>,
    },
    /// Something that concerns every node.
    ToAll {
        /// What.
        what: String,
    },
    /// Redis is to be told again who owns which session.
    Own,
}

impl Shared {
    /// A node's part, and what it has to say to Redis.
    pub fn new(node: Id) -> (Self, Outgoing) {
        let (out, outgoing) = mpsc::channel(WAITING);
        let overrun = Arc::new(Notify::new());
        let outgoing = Outgoing { commands: outgoing, overrun: Arc::clone(&overrun) };
        let (across, went) = (HashMap::new(), VecDeque::new());
        (Self { node, out, up_since: None, beats: 0, across, went, overrun }, outgoing)
    }

    /// Redis is there.
    pub fn is_up(&self) -> bool {
        self.up_since.is_some()
    }

    /// Pairs with a session of another node.
    pub fn across(&self) -> usize {
        self.across.len()
    }

    /// Tells what a step of the matching has to say; after every step.
    pub fn tell(&mut self, matching: &mut Matching, now: Duration) {
        while let Some(order) = matching.poll_order() {
            match order {
                Order::Seek { session, since, widened, wishes, recent, last_pair, party } => {
                    let waited = now.saturating_sub(since);
                    let left = |(id, until): (Id, Duration)| (until > now).then(|| (id, until - now));
                    let recent = recent.into_iter().filter_map(left).collect();
                    let pair = random::id();
                    self.send(Command::Seek {
                        session,
                        wishes,
                        waited,
                        widened,
                        recent,
                        last_pair,
                        party,
                        pair,
                    });
                }
                Order::Withdraw { session } => self.send(Command::Withdraw { session }),
                Order::Accept { session, pair } => self.send(Command::Accept { session, pair }),
                Order::End { session, pair, partner, reason } => {
                    let node = self.across.remove(&pair).and_then(|across| across.node);
                    self.send(Command::End { session, pair, partner, node, reason: reason.into() });
                }
            }
        }
    }

    /// Takes what is new; what is left to do.
    pub fn take(
        &mut self,
        matching: &mut Matching,
        now: Duration,
        news: News,
        next_pair: &mut impl FnMut() -> Id,
    ) -> Vec<Heard> {
        let mut heard = Vec::new();
        match news.0 {
            note::News::Up => {
                self.up_since = Some(now);
                matching.share(now, true, next_pair);
                self.across.keys().copied().collect::<Vec<_>>().into_iter().for_each(|pair| self.sync(pair));
                heard.push(Heard::Own);
            }
            note::News::Down => {
                self.up_since = None;
                matching.share(now, false, next_pair);
            }
            note::News::Beat => heard.extend(self.beat(matching)),
            note::News::Note(note) => self.read(matching, now, note, &mut heard, next_pair),
            note::News::Waits { session, again } => matching.look_again(session, now + again),
            note::News::Dead { node } => {
                if self.up_since.is_some_and(|since| now >= since + SHOW_LIFE_WITHIN) {
                    let dead = self.across.iter().filter(|(_, across)| across.node == Some(node));
                    for pair in dead.map(|(pair, _)| *pair).collect::<Vec<_>>() {
                        self.across.remove(&pair);
                        // It may have slept, and read this when it wakes.
                        let ended = Note::Ended { pair: WireId(pair), reason: note::Reason::Lost };
                        self.send(Command::Tell { node, note: ended });
                        matching.ended(now, pair, Ended::Lost, next_pair);
                    }
                }
            }
            note::News::Owner { pair, node } => {
                if self.across.get(&pair).is_some_and(|across| across.node.is_none()) {
                    self.goes_on_at(pair, node, &mut heard);
                    self.sync(pair);
                }
            }
            note::News::Unknown { ticket } => heard.push(Heard::Handed { ticket, session: None }),
            note::News::Taken { ticket, session } => {
                heard.push(Heard::Handed { ticket, session: Some(session) });
            }
        }
        heard
    }

    /// Says something to the partner on another node; false when too much is on the way.
    pub fn say(&mut self, pair: Id, body: String) -> bool {
        let Some(across) = self.across.get_mut(&pair) else { return false };
        let Some(message) = across.channel.push(body) else { return false };
        if let Some(node) = across.node {
            self.send_message(node, pair, message);
        }
        true
    }

    /// Another node is asked for a session; false while Redis is away.
    pub(crate) fn claim(&self, resume: Id, ticket: u64) -> bool {
        self.is_up() && self.out.try_send(Command::Claim { resume, ticket }).is_ok()
    }

    /// The answer to another node that has asked for a session.
    pub(crate) fn hand(&self, node: Id, ticket: u64, session: Option<String>) {
        self.send(Command::Tell { node, note: Note::Handed { ticket, session } });
    }

    /// Every other node is told.
    pub(crate) fn tell_all(&self, what: String) {
        self.send(Command::TellAll { note: Note::ToAll { what } });
    }

    /// No node matches these two people any more.
    pub(crate) fn keep_apart(&self, one: Id, other: Id) {
        self.send(Command::KeepApart { one, other });
    }

    /// A session is this node's now.
    pub(crate) fn own(&self, session: Id, resume: Id) {
        self.send(Command::Own { session, resume, partner: None });
    }

    /// A session is over.
    pub(crate) fn disown(&self, session: Id, resume: Id) {
        self.send(Command::Disown { session, resume });
    }

    /// One side of a pair goes to another node, or is left to any. `partner_here`: its partner stays at this one.
    pub(crate) fn depart(&mut self, pair: Id, partner: Id, to: Option<Id>, partner_here: bool) -> Passage {
        if partner_here {
            let channel = Channel::default();
            self.across.insert(pair, Across::new(partner, to, channel));
            return Passage { node: Some(WireId(self.node)), channel: Channel::default() };
        }
        let Some(Across { node, channel, .. }) = self.across.remove(&pair) else {
            return Passage { node: None, channel: Channel::default() };
        };
        if let Some(node) = node.filter(|node| Some(*node) != to) {
            let pair = WireId(pair);
            let note = to.map_or(Note::Gone { pair }, |to| Note::Moved { pair, node: WireId(to) });
            self.send(Command::Tell { node, note });
        }
        if let Some(to) = to {
            if self.went.len() == REMEMBERED {
                self.went.pop_front();
            }
            self.went.push_back((pair, to));
        }
        Passage { node: node.map(WireId), channel }
    }

    /// One side of a pair has come to this node, where its partner may be; what each has yet to hear, in this order.
    pub(crate) fn arrive(
        &mut self,
        passage: Passage,
        pair: Id,
        session: (Id, Id),
        partner: Id,
        partner_here: bool,
    ) -> (Vec<String>, Vec<String>) {
        let (session, resume) = session;
        if partner_here {
            let Some(before) = self.across.remove(&pair) else { return (Vec::new(), Vec::new()) };
            self.send(Command::Own { session, resume, partner: None });
            return before.channel.meet(passage.channel);
        }
        let node = passage.node.map(|node| node.0).filter(|node| *node != self.node);
        self.across.insert(pair, Across::new(session, node, passage.channel));
        let lookup = node.is_none().then_some((pair, partner));
        self.send(Command::Own { session, resume, partner: lookup });
        self.sync(pair);
        (Vec::new(), Vec::new())
    }

    /// A session is left to any node.
    pub(crate) fn leave(&self, left: Left, life: Duration) {
        self.send(Command::Leave { left, life });
    }

    /// Resolves once all that was told before is in Redis.
    pub fn flush(&self) -> oneshot::Receiver<()> {
        let (done, flushed) = oneshot::channel();
        self.send(Command::Flush { done });
        flushed
    }

    fn read(
        &mut self,
        matching: &mut Matching,
        now: Duration,
        note: Note,
        heard: &mut Vec<Heard>,
        next_pair: &mut impl FnMut() -> Id,
    ) {
        match note {
            Note::Found { pair, initiator, responder, nodes, common } => {
                let [pair, initiator, responder] = [pair, initiator, responder].map(|id| id.0);
                let elsewhere = match nodes.map(|node| node.0 == self.node) {
                    [true, true] => None,
                    [true, false] => Some((Role::Responder, initiator, nodes[1].0)),
                    [false, true] => Some((Role::Initiator, responder, nodes[0].0)),
                    [false, false] => return,
                };
                if let Some((_, session, node)) = elsewhere {
                    if self.across.contains_key(&pair) {
                        return;
                    }
                    self.across.insert(pair, Across::new(session, Some(node), Channel::default()));
                }
                let elsewhere = elsewhere.map(|(role, ..)| role);
                matching.found(now, Found { pair, initiator, responder, elsewhere, common }, next_pair);
            }
            Note::Start { pair } => matching.start(pair.0),
            Note::Ended { pair, reason } => match self.across.remove(&pair.0) {
                Some(_) => drop(matching.ended(now, pair.0, reason.into(), next_pair)),
                None => self.send_on(pair.0, Note::Ended { pair, reason }),
            },
            Note::Say { pair, node, seq, ack, body } => {
                let Some(across) = self.across.get_mut(&pair.0) else {
                    self.not_here(pair.0, node.0, Note::Say { pair, node, seq, ack, body });
                    return;
                };
                let taken = across.channel.take(Numbered { seq, ack, body });
                let (session, pair_id) = (across.session, pair.0);
                let said = |body| Heard::Said { session, pair: pair_id, body };
                heard.extend(taken.bodies.into_iter().map(said));
                let ack = (taken.owes_ack || taken.gap).then(|| across.channel.ack());
                if let (Some(ack), Some(to)) = (ack, across.node) {
                    let note = match taken.gap {
                        true => Note::Sync { pair, node: WireId(self.node), ack },
                        false => Note::Ack { pair, ack },
                    };
                    self.send(Command::Tell { node: to, note });
                }
            }
            Note::Ack { pair, ack } => {
                if let Some(across) = self.across.get_mut(&pair.0) {
                    across.channel.acked(ack);
                }
            }
            Note::Sync { pair, node, ack } => {
                let Some(across) = self.across.get_mut(&pair.0) else {
                    self.not_here(pair.0, node.0, Note::Sync { pair, node, ack });
                    return;
                };
                across.channel.acked(ack);
                let ack = across.channel.ack();
                self.send(Command::Tell { node: node.0, note: Note::Ack { pair, ack } });
                self.goes_on_at(pair.0, node.0, heard);
                self.send_again(pair.0);
            }
            Note::Moved { pair, node } => self.goes_on_at(pair.0, node.0, heard),
            Note::Gone { pair } => {
                if let Some(across) = self.across.get_mut(&pair.0) {
                    across.node = None;
                    heard.push(Heard::PartnerGone { session: across.session, pair: pair.0 });
                }
            }
            Note::Claim { resume, node, ticket } => {
                heard.push(Heard::Claimed { resume: resume.0, node: node.0, ticket });
            }
            Note::Handed { ticket, session } => heard.push(Heard::Handed { ticket, session }),
            Note::ToAll { what } => heard.push(Heard::ToAll { what }),
            Note::Beat => {}
        }
    }

    fn beat(&mut self, matching: &mut Matching) -> Option<Heard> {
        self.beats += 1;
        let nodes: HashSet<Id> = self.across.values().filter_map(|across| across.node).collect();
        if !nodes.is_empty() {
            self.send(Command::Alive { nodes: nodes.into_iter().collect() });
        }
        for pair in self.across.keys().copied().collect::<Vec<_>>() {
            let Some(across) = self.across.get_mut(&pair) else { continue };
            let before = std::mem::replace(&mut across.asked, across.channel.is_waiting());
            match across.asked {
                true if before => self.send_again(pair),
                true => self.ask(pair),
                false => {}
            }
        }
        if self.beats.is_multiple_of(RENEW_EVERY) {
            matching.renew();
        }
        self.beats.is_multiple_of(OWN_EVERY).then_some(Heard::Own)
    }

    /// A pair that is not here has gone to another node, or is over.
    fn not_here(&self, pair: Id, from: Id, note: Note) {
        match self.went_to(pair) {
            Some(to) => self.send(Command::Tell { node: to, note }),
            None => {
                let ended = Note::Ended { pair: WireId(pair), reason: note::Reason::Lost };
                self.send(Command::Tell { node: from, note: ended });
            }
        }
    }

    fn send_on(&self, pair: Id, note: Note) {
        if let Some(to) = self.went_to(pair) {
            self.send(Command::Tell { node: to, note });
        }
    }

    fn went_to(&self, pair: Id) -> Option<Id> {
        self.went.iter().rev().find(|(went, _)| *went == pair).map(|(_, to)| *to)
    }

    fn goes_on_at(&mut self, pair: Id, node: Id, heard: &mut Vec<Heard>) {
        if let Some(across) = self.across.get_mut(&pair) {
            if across.node.is_none() {
                heard.push(Heard::PartnerBack { session: across.session, pair });
            }
            across.node = Some(node);
        }
    }

    /// Asks for what may be missing here, and sends again what may be missing there.
    fn sync(&mut self, pair: Id) {
        self.ask(pair);
        self.send_again(pair);
    }

    fn ask(&mut self, pair: Id) {
        let Some(across) = self.across.get_mut(&pair) else { return };
        if let Some(node) = across.node {
            let ack = across.channel.ack();
            let note = Note::Sync { pair: WireId(pair), node: WireId(self.node), ack };
            self.send(Command::Tell { node, note });
        }
    }

    fn send_again(&mut self, pair: Id) {
        let Some(across) = self.across.get_mut(&pair) else { return };
        if let Some(node) = across.node {
            for message in across.channel.again() {
                self.send_message(node, pair, message);
            }
        }
    }

    fn send_message(&self, node: Id, pair: Id, message: Numbered) {
        let Numbered { seq, ack, body } = message;
        let note = Note::Say { pair: WireId(pair), node: WireId(self.node), seq, ack, body };
        self.send(Command::Tell { node, note });
    }

    /// What cannot be told now is told again when Redis is back.
    fn send(&self, command: Command) {
        if self.is_up() && self.out.try_send(command).is_err() {
            self.overrun.notify_one();
        }
    }
}
