//! One worker thread: its sockets, its core, its counters. Nothing on its data path is shared but the port table.
//!
//! A turn takes what is ready, fairly and within a cap for each socket, lets the core decide, and sends everything at its
//! end. Only then is an ended allocation released, so that what was in hand for it is sent and counted.

mod allocations;
mod clients;
mod icmp;
mod outbox;
mod peers;
mod streams;

use std::{
    io,
    net::SocketAddr,
    os::fd::AsFd as _,
    sync::{
        Arc,
        mpsc::{Receiver, SyncSender, sync_channel},
    },
    time::Duration,
};

use socket2::Socket;
use tokio::sync::oneshot;
use turnpike_proto::{
    AllocationKey, ByFamily, Cause, DropReason, Family, Label, Now, Server, Tally, Transport,
};
use turnpike_relay_api::{
    admin::{Session, Traffic},
    cost::Step,
    target::Target,
};

pub(crate) use self::streams::Handshake;
use self::{
    outbox::{Account, Exit, Outbox, Side},
    streams::{StreamListener, Streams},
};
use crate::{
    budget::Budget,
    clock::Clock,
    ended::EndedCounts,
    failures::FailureLog,
    front_door::FrontDoor,
    io::{Batch, Doorbell, Epoll, Inbox, Mode, Ready, Refused, Together, Token, set_dont_fragment},
    ledger::Feed,
    logins::Logins,
    revocations::Revocations,
    ring::Rings,
    self_test::SelfTest,
    setups::Setups,
    shared::{RelaySockets, Shared},
    snapshot::{Board, ByClient, Snapshot},
    tls::Tls,
};

/// How often counters are published and held ports are looked at.
pub(crate) const PUBLISH_EVERY: Duration = Duration::from_secs(1);
/// Commands that may wait for a shard.
const COMMANDS: usize = 64;

/// Messages in hand before the next socket is read: one gives up to some thousand.
const IN_HAND: usize = 2_048;

/// What the kernel was asked for and failed to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SocketCall {
    Receive,
    Send,
    Accept,
}

impl Label for SocketCall {
    const ALL: &'static [Self] = &[Self::Receive, Self::Send, Self::Accept];

    fn index(self) -> usize {
        self as usize
    }

    fn name(self) -> &'static str {
        match self {
            Self::Receive => "receive",
            Self::Send => "send",
            Self::Accept => "accept",
        }
    }
}

/// What a shard is told from outside.
pub(crate) enum Command {
    /// Give the live allocations.
    Sessions(oneshot::Sender<Vec<Session>>),
    /// End these allocations and tell whose they were, once their sockets are closed.
    End(Arc<Target>, Cause, oneshot::Sender<Vec<Holder>>),
    /// Refuse new allocations, or make them again.
    Draining(bool),
    /// Let in whom these let in.
    Logins(Arc<Logins>),
    /// End every allocation, then the shard.
    Close(Cause),
}

/// Whose an allocation was.
#[derive(Debug)]
pub(crate) struct Holder {
    pub(crate) subject: Box<str>,
    /// When its credential expires, in Unix seconds; one of a static user never does.
    pub(crate) credential_expires: Option<u64>,
}

/// The other end of a shard.
#[derive(Clone)]
pub(crate) struct Handle {
    commands: SyncSender<Command>,
    doorbell: Arc<Doorbell>,
}

impl Handle {
    /// Gives a command, unless the shard is gone or has too many waiting.
    pub(crate) fn tell(&self, command: Command) -> bool {
        let told = self.commands.try_send(command).is_ok();
        self.doorbell.ring();
        told
    }

    /// Gives a command as soon as there is room for it. A shard that is gone needs none.
    pub(crate) fn insist(&self, command: Command) {
        let _ = self.commands.send(command);
        self.doorbell.ring();
    }

    pub(crate) fn doorbell(&self) -> Arc<Doorbell> {
        Arc::clone(&self.doorbell)
    }
}

/// The sockets of a shard, opened before it runs.
pub(crate) struct Sockets {
    epoll: Epoll,
    listeners: Vec<Listener>,
    stream_listeners: Vec<StreamListener>,
    doorbell: Arc<Doorbell>,
    commands: Receiver<Command>,
}

/// The listeners of one shard.
#[derive(Default)]
pub(crate) struct Listeners {
    pub(crate) udp: Vec<(Socket, SocketAddr)>,
    pub(crate) streams: Vec<(Socket, Transport)>,
}

struct Listener {
    socket: Socket,
    local: SocketAddr,
    /// It may hold more than was taken.
    hungry: bool,
}

impl Sockets {
    /// Puts the listeners of a shard into an epoll set of its own.
    ///
    /// # Errors
    /// Of the kernel.
    pub(crate) fn open(Listeners { udp, streams }: Listeners) -> io::Result<(Self, Handle)> {
        let epoll = Epoll::new()?;
        let doorbell = Arc::new(Doorbell::new()?);
        epoll.add(&*doorbell, Token::Wake)?;
        let listeners: Vec<Listener> =
            udp.into_iter().map(|(socket, local)| Listener { socket, local, hungry: false }).collect();
        for (place, listener) in listeners.iter().enumerate() {
            epoll.add(&listener.socket, Token::Listener(place as u32))?;
        }
        let stream_listeners: Vec<StreamListener> =
            streams.into_iter().map(|(socket, transport)| StreamListener::new(socket, transport)).collect();
        for (place, listener) in stream_listeners.iter().enumerate() {
            epoll.add(&listener.socket, Token::StreamListener(place as u32))?;
        }
        let (sender, commands) = sync_channel(COMMANDS);
        let handle = Handle { commands: sender, doorbell: Arc::clone(&doorbell) };
        Ok((Self { epoll, listeners, stream_listeners, doorbell, commands }, handle))
    }
}

/// What all shards have in common.
#[derive(Clone)]
pub(crate) struct Node {
    pub(crate) clock: Clock,
    pub(crate) shared: Arc<Shared>,
    pub(crate) revocations: Arc<Revocations>,
    pub(crate) failures: Arc<FailureLog>,
    pub(crate) board: Arc<Board>,
    pub(crate) budget: Arc<Budget>,
    /// Absent where TLS is off.
    pub(crate) tls: Option<Arc<Tls>>,
    /// Where HTTPS goes; absent where TLS is off.
    pub(crate) front_door: Option<FrontDoor>,
    /// Absent where it is off.
    pub(crate) self_test: Option<Arc<SelfTest>>,
}

/// What became of a shard's allocations.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Outcome {
    pub(crate) created: u64,
    pub(crate) closed: u64,
    pub(crate) traffic: Traffic,
}

/// One shard. Its buffers belong to the thread that it runs on.
pub(crate) struct Shard {
    id: usize,
    node: Node,
    server: Server,
    epoll: Epoll,
    ready: Ready,
    listeners: Vec<Listener>,
    stream_listeners: Vec<StreamListener>,
    streams: Streams,
    /// By the slot of their allocation.
    relays: Vec<Option<Relay>>,
    rings: Rings,
    doorbell: Arc<Doorbell>,
    commands: Receiver<Command>,
    inbox: Inbox,
    outbox: Outbox,
    batch: Batch,
    /// What came together with others.
    together: Together,
    /// An answer being written by the core.
    reply: Vec<u8>,
    /// Ended allocations that are not released yet.
    closing: Vec<AllocationKey>,
    /// Relayed addresses that ended before their allocation, and are not closed yet.
    closing_addresses: Vec<(AllocationKey, Family)>,
    /// Peers of datagrams of this turn that were too long to leave with DF, up to a limit.
    too_long: Vec<(AllocationKey, SocketAddr)>,
    /// Traffic of released allocations.
    ended: ByClient<Traffic>,
    ended_counts: EndedCounts,
    /// How long it took to make allocations.
    setups: Setups,
    socket_errors: Tally<SocketCall>,
    /// Where what flowed is kept.
    feed: Feed,
    /// The step of the budget that holds here.
    budget_step: Step,
    now: Now,
    publish_at: Duration,
    stopped: bool,
}

/// The driver's side of an allocation.
struct Relay {
    key: AllocationKey,
    /// Where messages to its client leave.
    exit: Exit,
    sockets: RelaySockets,
    /// Which of them were asked to put datagrams together.
    coalesces: ByFamily<bool>,
}

impl Shard {
    pub(crate) fn new(
        id: usize,
        node: Node,
        server: Server,
        sockets: Sockets,
        rings: Rings,
        feed: Feed,
    ) -> Self {
        let Sockets { epoll, listeners, stream_listeners, doorbell, commands } = sockets;
        let now = node.clock.now();
        Self {
            id,
            node,
            server,
            epoll,
            ready: Ready::new(),
            listeners,
            stream_listeners,
            streams: Streams::default(),
            relays: Vec::new(),
            rings,
            doorbell,
            commands,
            inbox: Inbox::new(),
            outbox: Outbox::default(),
            batch: Batch::new(),
            together: Together::default(),
            reply: Vec::new(),
            closing: Vec::new(),
            closing_addresses: Vec::new(),
            too_long: Vec::new(),
            ended: ByClient::default(),
            ended_counts: EndedCounts::default(),
            setups: Setups::default(),
            socket_errors: Tally::default(),
            feed,
            budget_step: Step::Ok,
            now,
            publish_at: now.mono,
            stopped: false,
        }
    }

    /// Serves until told to close.
    pub(crate) fn run(mut self) -> Outcome {
        while !self.stopped {
            self.wait();
            self.now = self.node.clock.now();
            self.streams.begin_turn();
            self.read_sockets();
            self.read_rings();
            if self.now.mono >= self.server.poll_timeout() {
                self.server.handle_timeout(self.now);
                self.act_on_outputs();
            }
            self.flush();
            self.release_closed();
            if self.now.mono >= self.publish_at || self.stopped {
                self.heed_budget();
                self.sweep_streams();
                self.flush();
                self.release_closed();
                self.publish();
            }
        }
        let counters = self.server.counters();
        Outcome {
            created: counters.allocations_created.total(),
            closed: counters.allocations_closed.total(),
            traffic: self.server.traffic(),
        }
    }

    fn wait(&mut self) {
        self.doorbell.about_to_sleep();
        let due = self.server.poll_timeout().min(self.publish_at);
        let timeout = match self.rings.is_waiting() {
            true => Duration::ZERO,
            false => due.saturating_sub(self.node.clock.uptime()),
        };
        self.epoll.wait(&mut self.ready, timeout).expect("an epoll set that is open can be waited on");
        self.doorbell.awake();
    }

    /// Each ready socket gives one batch, and each listener one more for every inbox that relay sockets have filled: all
    /// clients share a few listeners.
    fn read_sockets(&mut self) {
        for place in 0..self.ready.len() {
            match self.ready.token(place) {
                Token::Wake => self.read_commands(),
                Token::Listener(listener) => self.listeners[listener as usize].hungry = true,
                Token::Relay(..) | Token::StreamListener(_) | Token::Stream(_) => {}
            }
        }
        self.read_listeners();
        for place in 0..self.ready.len() {
            match self.ready.token(place) {
                Token::Relay(slot, family) => {
                    if self.make_room(peers::BATCH) {
                        self.read_listeners();
                    }
                    if self.ready.has_errors(place) {
                        self.read_errors(slot, family);
                    }
                    self.read_relay(slot, family);
                }
                Token::Stream(slot) => {
                    let (readable, writable) = (self.ready.is_readable(place), self.ready.is_writable(place));
                    self.serve_stream(slot, readable, writable);
                }
                Token::StreamListener(listener) => self.accept_streams(listener as usize),
                Token::Wake | Token::Listener(_) => {}
            }
        }
    }

    /// Flushes when there is no room for so many more buffers, or too much in hand for one flush; whether it did.
    fn make_room(&mut self, buffers: usize) -> bool {
        let is_full = self.inbox.room() < buffers || self.outbox.len() > IN_HAND;
        if is_full {
            self.flush();
        }
        is_full
    }

    fn read_commands(&mut self) {
        self.doorbell.silence();
        while let Ok(command) = self.commands.try_recv() {
            match command {
                Command::Sessions(reply) => {
                    // Whoever asked may have given up.
                    let _ = reply.send(self.sessions());
                }
                Command::End(target, cause, reply) => {
                    let ended = self.end(&target, cause);
                    // Whoever asked may have given up.
                    let _ = reply.send(ended);
                }
                Command::Draining(draining) => self.server.set_draining(draining),
                Command::Logins(logins) => {
                    self.server.set_logins(logins.secrets.clone(), logins.static_users.clone());
                }
                Command::Close(cause) => {
                    self.server.set_draining(true);
                    self.server.close_all(self.now, cause);
                    self.act_on_outputs();
                    self.stopped = true;
                }
            }
        }
    }

    /// Sends what the turn has in hand, counts what the kernel took, and empties the inbox. Ended allocations lose their
    /// sockets in between: a client that is told of its end finds port and quota free.
    fn flush(&mut self) {
        self.send(Side::Peers);
        self.tell_of_too_long();
        self.close_sockets();
        self.send(Side::Clients);
        let rings = &mut self.rings;
        self.outbox.clear(|ring, bytes| rings.give_back(ring, bytes));
        self.rings.wake_receivers();
        self.inbox.clear();
    }

    fn send(&mut self, side: Side) {
        let Self {
            outbox,
            batch,
            inbox,
            listeners,
            relays,
            streams,
            epoll,
            server,
            too_long,
            socket_errors,
            now,
            ..
        } = self;
        outbox.send(side, inbox, |exit, group| {
            let (socket, is_ipv4) = match exit {
                Exit::Listener(place) => (listeners[place].socket.as_fd(), false),
                Exit::Relay(slot, family) => {
                    let relay = relays[slot as usize].as_ref();
                    let socket = relay.and_then(|relay| relay.sockets.socket(family));
                    let socket = socket.expect("a relay socket is closed only after its side was sent");
                    (socket.as_fd(), family == Family::Ipv4)
                }
                Exit::Stream(slot) => return streams.send(slot, group, epoll, server),
            };
            for (whole, group) in group.by_fragmentation() {
                if whole && set_dont_fragment(&socket, is_ipv4, true).is_err() {
                    (0..group.len()).for_each(|_| server.dropped(DropReason::SendFailed));
                    continue;
                }
                let mode = if whole { Mode::Plain } else { Mode::Segmented(now.mono) };
                batch.send(
                    socket,
                    mode,
                    group.len(),
                    |nth| group.datagram(nth),
                    |nth, result| {
                        let datagram = group.datagram(nth);
                        let len = datagram.len();
                        match (result, group.account(nth)) {
                            (Ok(()), Account::Client(allocation)) => server.sent_to_client(allocation, len),
                            (Ok(()), Account::Peer(allocation, family)) => {
                                server.sent_to_peer(allocation, family, len);
                            }
                            (Ok(()), Account::None(client)) => server.unallocated_sent(client, len),
                            (Err(Refused::TooLarge), account) => {
                                server.dropped(DropReason::TooLarge);
                                if let Account::Peer(allocation, _) = account
                                    && whole
                                    && too_long.len() < icmp::BATCH
                                {
                                    too_long.push((allocation, datagram.to));
                                }
                            }
                            (Err(Refused::Failed), _) => {
                                socket_errors.count(SocketCall::Send);
                                server.dropped(DropReason::SendFailed);
                            }
                        }
                    },
                );
                if whole && set_dont_fragment(&socket, is_ipv4, false).is_err() {
                    tracing::debug!("a relay socket goes on sending with DF");
                }
            }
        });
    }

    /// Slows allocations down, or ends them, as the budget says.
    fn heed_budget(&mut self) {
        let budget = &self.node.budget;
        let step = budget.step();
        if step != self.budget_step {
            self.budget_step = step;
            self.server.cap_bitrate(budget.bitrate(step));
            if budget.cuts(step) {
                self.server.close_all(self.now, Cause::Quota);
                self.act_on_outputs();
            }
        }
    }

    fn publish(&mut self) {
        self.publish_at = self.now.mono + PUBLISH_EVERY;
        let snapshot = Snapshot {
            connections: self.streams.count(),
            refused_connections: self.streams.refused,
            handshakes: self.streams.handshakes.clone(),
            together_in: self.together,
            together_out: self.batch.together,
            refused_runs: self.batch.refused_runs,
            ended: self.ended_counts.clone(),
            setups: self.setups,
            socket_errors: self.socket_errors.clone(),
            ..Snapshot::take(&self.server, &self.ended, self.now.mono)
        };
        self.node.board.publish(self.id, snapshot);
        match self.stopped {
            false => self.feed.publish(&self.server, self.now),
            true => self.feed.finish(&self.server, self.now),
        }
        self.node.failures.add(&self.server.take_auth_failures());
        if self.id == 0 {
            self.node.failures.tell_each_minute(self.now.mono);
            self.node.shared.sweep(self.now.mono);
            self.node.shared.shares.sweep(self.now);
            self.node.revocations.sweep(self.now);
        }
    }

    fn sessions(&self) -> Vec<Session> {
        let now = self.now.mono;
        self.server
            .allocations()
            .map(|(_, allocation)| Session {
                id: allocation.id().to_string(),
                subject: allocation.subject().to_owned(),
                transport: allocation.five_tuple().transport.name().to_owned(),
                client: allocation.five_tuple().client,
                relayed: first(&allocation.relayed()),
                relayed_ipv6: allocation.relayed()[Family::Ipv4].and(allocation.relayed()[Family::Ipv6]),
                age_seconds: now.saturating_sub(allocation.opened()).as_secs(),
                expires_in_seconds: allocation.expires().saturating_sub(now).as_secs(),
                permissions: allocation.permissions(now),
                channels: allocation.channels(now),
                traffic: allocation.traffic().total(),
            })
            .collect()
    }
}

/// The IPv4 one of two.
fn first(relayed: &ByFamily<Option<SocketAddr>>) -> SocketAddr {
    let first = relayed.iter().find_map(|(_, address)| *address);
    first.expect("a live allocation has a relayed address")
}
