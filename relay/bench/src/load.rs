//! The generator: flows of clients over one server, and what arrives at their far ends.

use std::{
    collections::VecDeque,
    net::UdpSocket,
    ops::Range,
    time::{Duration, Instant},
};

use anyhow::{Context as _, ensure};
use serde::{Deserialize, Serialize};

use crate::{
    clients::{self, Clients},
    datagrams::{Inbox, Outgoing, Sender},
    framing::{Frame, Framing},
    histogram::{Latencies, Percentiles},
    poller::Poller,
    process,
    stamp::{self, Stamp, Way},
};

/// Number of the peer's socket, and of the ticks, in the set that is waited for.
const PEER: u64 = u64::MAX;
const TICK: u64 = u64::MAX - 1;
/// Between two looks at what is due.
const TICK_EVERY: Duration = Duration::from_micros(100);
/// Most bursts of one turn; who is that late leaves the rest out.
const BURSTS_A_TURN: u64 = 64;
/// A burst whose last datagram is not there, and of which nothing came for this long, is lost: its flow goes on. Longer
/// than the queues of a server that is just saturated, or bursts would pile up in them.
const LOST_AFTER: Duration = Duration::from_millis(60);
/// How long a last datagram is waited for behind the one before.
const DRAIN: Duration = Duration::from_secs(1);
/// Most bytes of a datagram of segments.
const MOST_BYTES: usize = 65_000;
const MOST_SEGMENTS: usize = 64;

/// Who a client's flow is with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Path {
    /// A peer that sends everything back: two relayed datagrams for each that a client sends.
    Echo,
    /// The next client's relayed address: one.
    Pairs,
}

/// How much is offered.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Pace {
    /// Each flow sends its next burst when the end of the last one has arrived, or is lost.
    Saturated,
    /// Relayed datagrams a second, over all flows.
    Rate(f64),
}

/// One kind of load.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// Clients, each with one flow.
    pub flows: usize,
    /// Bytes of payload.
    pub payload: usize,
    /// Datagrams that a flow sends at once.
    pub burst: usize,
    /// A burst goes to the kernel in one piece (UDP_SEGMENT), as a network card with GRO hands it over; else each
    /// datagram is sent alone.
    pub in_one_piece: bool,
    /// Who the flows are with.
    pub path: Path,
    /// What clients wrap their payloads in.
    pub framing: Framing,
    /// How much is offered.
    pub pace: Pace,
    /// How long it is measured; a fifth of it comes before as a warm-up.
    pub seconds: f64,
}

/// What was seen of one load.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Seen {
    /// Relayed datagrams a second that were sent to the server.
    pub offered: f64,
    /// Relayed datagrams a second that arrived at their far end.
    pub delivered: f64,
    /// Relayed datagrams that were sent, the warm-up included.
    pub sent: u64,
    /// Those that arrived, late ones included.
    pub arrived: u64,
    /// Those that arrived at somebody else. Never anything but 0.
    pub astray: u64,
    /// Lost where the generator's own sockets were full.
    pub overflown: u64,
    /// From sending to the far end.
    pub latency_us: Percentiles,
    /// Processor time of the server for each delivered datagram.
    pub cpu_us: Option<f64>,
    /// Part of a processor that the server used.
    pub busy: Option<f64>,
    /// Part of a processor that the generator left unused.
    pub idle: f64,
}

impl Seen {
    /// Part of the sent datagrams that did not arrive.
    pub fn loss(&self) -> f64 {
        (self.sent - self.arrived.min(self.sent)) as f64 / (self.sent.max(1)) as f64
    }

    /// The generator had less than a fifth of its processor left, so that the figures are its own.
    pub fn measured_itself(&self) -> bool {
        self.idle < 0.2
    }
}

/// A load in progress.
pub struct Load<'a> {
    plan: Plan,
    clients: &'a Clients,
    peer: Option<&'a UdpSocket>,
    frames: &'a [Frame],
    epoch: u16,
    began: Instant,
    flows: Vec<Flow>,
    /// Flows that may send, where the pace is theirs.
    idle: VecDeque<u32>,
    next: u32,
    bursts: u64,
    counts: Counts,
    latencies: Latencies,
    arena: Vec<u8>,
    pieces: Vec<(u32, Range<usize>)>,
    inbox: Inbox,
    sender: Sender,
    poller: Poller,
}

#[derive(Clone, Copy, Default)]
struct Flow {
    /// Of the last burst, what has not come to its end.
    out: u32,
    /// When something of it last moved.
    moved: Duration,
}

#[derive(Debug, Clone, Copy, Default)]
struct Counts {
    sent: u64,
    arrived: u64,
    astray: u64,
}

/// One moment of a load.
struct Moment {
    at: Duration,
    counts: Counts,
    own: Duration,
    server: Option<Duration>,
}

impl<'a> Load<'a> {
    /// `frames` has one message for each client; `epoch` is another one for each load over the same clients.
    ///
    /// # Errors
    /// When the plan cannot be carried out, or of the kernel.
    pub fn new(
        plan: Plan,
        clients: &'a Clients,
        peer: Option<&'a UdpSocket>,
        frames: &'a [Frame],
        epoch: u16,
    ) -> anyhow::Result<Self> {
        ensure!(plan.payload >= stamp::LEN, "a payload has {} bytes at least", stamp::LEN);
        ensure!(
            plan.burst > 0 && plan.flows > 0 && plan.flows <= frames.len(),
            "a load needs flows and bursts"
        );
        ensure!((plan.path == Path::Echo) == peer.is_some(), "an echo needs a peer, pairs have none");
        ensure!(
            plan.path == Path::Echo || plan.flows.is_multiple_of(2),
            "pairs need an even number of clients"
        );
        let mut poller = Poller::new()?;
        clients.watch(&poller)?;
        poller.tick(TICK_EVERY, TICK)?;
        if let Some(peer) = peer {
            poller.add(peer, PEER)?;
        }
        Ok(Self {
            plan,
            clients,
            peer,
            frames,
            epoch,
            began: Instant::now(),
            flows: vec![Flow::default(); plan.flows],
            idle: (0..plan.flows as u32).collect(),
            next: 0,
            bursts: 0,
            counts: Counts::default(),
            latencies: Latencies::default(),
            arena: Vec::new(),
            pieces: Vec::new(),
            inbox: Inbox::default(),
            sender: Sender::default(),
            poller,
        })
    }

    /// Carries it out; `server` is the id of the server's process, where it is on this machine.
    ///
    /// # Errors
    /// Of the kernel, or when the server has ended.
    pub fn run(mut self, server: Option<u32>) -> anyhow::Result<Seen> {
        let overflown = self.overflown()?;
        self.began = Instant::now();
        let warm = Duration::from_secs_f64(self.plan.seconds / 5.0);
        self.turn_until(warm)?;
        self.latencies = Latencies::default();
        let from = self.moment(server)?;
        self.turn_until(warm + Duration::from_secs_f64(self.plan.seconds))?;
        let to = self.moment(server)?;
        self.drain()?;
        let seconds = (to.at - from.at).as_secs_f64();
        let delivered = to.counts.arrived - from.counts.arrived;
        let cpu = to.server.zip(from.server).map(|(to, from)| (to - from).as_secs_f64());
        Ok(Seen {
            offered: (to.counts.sent - from.counts.sent) as f64 / seconds,
            delivered: delivered as f64 / seconds,
            sent: self.counts.sent,
            arrived: self.counts.arrived,
            astray: self.counts.astray,
            overflown: self.overflown()? - overflown,
            latency_us: self.latencies.percentiles(),
            cpu_us: cpu.filter(|_| delivered > 0).map(|cpu| cpu * 1e6 / delivered as f64),
            busy: cpu.map(|cpu| cpu / seconds),
            idle: 1.0 - (to.own - from.own).as_secs_f64() / seconds,
        })
    }

    fn moment(&self, server: Option<u32>) -> anyhow::Result<Moment> {
        let server = server.map(process::processor_time).transpose()?;
        Ok(Moment { at: self.began.elapsed(), counts: self.counts, own: process::own_time(), server })
    }

    fn turn_until(&mut self, end: Duration) -> anyhow::Result<()> {
        while self.began.elapsed() < end {
            self.offer();
            self.take(Duration::from_millis(1))?;
        }
        Ok(())
    }

    /// Waits for what is still on its way.
    fn drain(&mut self) -> anyhow::Result<()> {
        let mut arrived = (self.counts.arrived, self.began.elapsed());
        while self.counts.arrived < self.counts.sent && self.began.elapsed() - arrived.1 < DRAIN {
            self.take(Duration::from_millis(1))?;
            if self.counts.arrived > arrived.0 {
                arrived = (self.counts.arrived, self.began.elapsed());
            }
        }
        Ok(())
    }

    /// Sends what is due.
    fn offer(&mut self) {
        let now = self.began.elapsed();
        self.arena.clear();
        self.pieces.clear();
        match self.plan.pace {
            Pace::Saturated => {
                if self.idle.is_empty() {
                    self.give_up(now);
                }
                for _ in 0..BURSTS_A_TURN.min(self.idle.len() as u64) {
                    let Some(flow) = self.idle.pop_front() else { break };
                    self.write(flow, now);
                }
            }
            Pace::Rate(rate) => {
                let legs = if self.plan.path == Path::Echo { 2.0 } else { 1.0 };
                let due = (now.as_secs_f64() * rate / legs / self.plan.burst as f64) as u64;
                for _ in 0..due.saturating_sub(self.bursts).min(BURSTS_A_TURN) {
                    self.write(self.next, now);
                    self.next = (self.next + 1) % self.plan.flows as u32;
                }
                self.bursts = due;
            }
        }
        let segment = self.frames[0].bytes.len() as u16;
        let segment = self.plan.in_one_piece.then_some(segment);
        for group in self
            .pieces
            .chunk_by(|a, b| self.clients.socket_of(a.0 as usize) == self.clients.socket_of(b.0 as usize))
        {
            let socket = self.clients.socket(self.clients.socket_of(group[0].0 as usize));
            let outgoing = group.iter().map(|(flow, range)| {
                self.clients.outgoing(*flow as usize, &self.arena[range.clone()], segment)
            });
            // What the kernel refuses was sent, and is lost.
            self.sender.send(socket, outgoing);
        }
    }

    /// Writes one burst of a flow.
    fn write(&mut self, flow: u32, now: Duration) {
        let frame = &self.frames[flow as usize];
        let sent = now.as_nanos() as u64;
        let stamp = Stamp { flow, way: Way::Up, last: false, epoch: self.epoch, sent };
        let a_piece = match self.plan.in_one_piece {
            true => (MOST_BYTES / frame.bytes.len()).clamp(1, MOST_SEGMENTS),
            false => 1,
        };
        let mut left = self.plan.burst;
        while left > 0 {
            let start = self.arena.len();
            for nth in 0..left.min(a_piece) {
                let at = self.arena.len();
                self.arena.extend_from_slice(&frame.bytes);
                let payload = &mut self.arena[at + frame.payload.start..at + frame.payload.end];
                Stamp { last: nth + 1 == left, ..stamp }.write(payload);
            }
            self.pieces.push((flow, start..self.arena.len()));
            left -= left.min(a_piece);
        }
        self.counts.sent += self.plan.burst as u64;
        self.flows[flow as usize] = Flow { out: self.plan.burst as u32, moved: now };
    }

    /// Lets flows go on whose burst is lost.
    fn give_up(&mut self, now: Duration) {
        for (number, flow) in self.flows.iter_mut().enumerate() {
            if flow.out > 0 && now.saturating_sub(flow.moved) > LOST_AFTER {
                flow.out = 0;
                self.idle.push_back(number as u32);
            }
        }
    }

    /// Takes what arrives within this time.
    fn take(&mut self, within: Duration) -> anyhow::Result<()> {
        let ready: Vec<u64> = self.poller.wait(within)?.collect();
        for number in ready {
            match number {
                TICK => {}
                PEER => self.take_at_peer()?,
                number => self.take_at_client(number as usize)?,
            }
        }
        Ok(())
    }

    fn take_at_peer(&mut self) -> anyhow::Result<()> {
        let Some(peer) = self.peer else { return Ok(()) };
        let filled = self.inbox.receive(peer).context("receiving at the peer")?;
        let now = self.began.elapsed();
        for slot in 0..filled {
            let Some(incoming) = self.inbox.get(slot) else { continue };
            for payload in incoming.bytes.chunks_mut(incoming.segment.max(1)) {
                let Some(stamp) = Stamp::read(payload) else { continue };
                if stamp.way != Way::Up || stamp.epoch != self.epoch {
                    continue;
                }
                self.latencies.record(since(now, stamp));
                self.counts.arrived += 1;
                self.counts.sent += 1;
                Stamp { way: Way::Down, sent: now.as_nanos() as u64, ..stamp }.write(payload);
            }
        }
        let back = self.inbox.iter().map(|(to, bytes, segment)| Outgoing { to, from: None, bytes, segment });
        self.sender.send(peer, back);
        Ok(())
    }

    fn take_at_client(&mut self, number: usize) -> anyhow::Result<()> {
        let filled = self.inbox.receive(self.clients.socket(number)).context("receiving at a client")?;
        let now = self.began.elapsed();
        for slot in 0..filled {
            let Some(incoming) = self.inbox.get(slot) else { continue };
            let Some(client) = self.clients.client_at(number, incoming.to) else { continue };
            for message in incoming.bytes.chunks(incoming.segment.max(1)) {
                let Some(payload) = self.plan.framing.payload(message) else { continue };
                let Some(stamp) = Stamp::read(&message[payload]) else { continue };
                if stamp.epoch != self.epoch {
                    continue;
                }
                let expected = match self.plan.path {
                    Path::Echo => (Way::Down, client as u32),
                    Path::Pairs => (Way::Up, client as u32 ^ 1),
                };
                if (stamp.way, stamp.flow) != expected {
                    self.counts.astray += 1;
                    continue;
                }
                self.latencies.record(since(now, stamp));
                self.counts.arrived += 1;
                let flow = &mut self.flows[stamp.flow as usize];
                flow.moved = now;
                if flow.out > 0 {
                    // Datagrams of a flow keep their order: what has not come before the last one is lost.
                    flow.out = if stamp.last { 0 } else { flow.out - 1 };
                    if flow.out == 0 {
                        self.idle.push_back(stamp.flow);
                    }
                }
            }
        }
        Ok(())
    }

    fn overflown(&self) -> anyhow::Result<u64> {
        let at_peer = self.peer.map(clients::overflown).transpose()?.unwrap_or(0);
        Ok(self.clients.overflown()? + at_peer)
    }
}

fn since(now: Duration, stamp: Stamp) -> Duration {
    now.saturating_sub(Duration::from_nanos(stamp.sent))
}
