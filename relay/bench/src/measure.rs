//! One cell at one server: started, loaded, ended.

use anyhow::Context as _;
use serde::{Deserialize, Serialize};

use crate::{
    cells::Work,
    flows::{Flows, Site, allocate, peer_for},
    framing::Framing,
    load::{Pace, Plan, Seen},
    process,
    servers::{Kind, PEER, Programs, SECRET, Server},
    syscalls::Trace,
};

/// What was seen of one cell.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Measured {
    /// Of a load.
    Load(Seen),
    /// Of allocations.
    Allocations(Allocated),
}

/// What was seen of allocations.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Allocated {
    /// How many were made.
    pub count: usize,
    /// A second, with the whole 401 exchange.
    pub per_second: f64,
    /// Memory of the server's process for each that lies idle, in bytes.
    pub memory: f64,
    /// Processor time of the server for each.
    pub cpu_us: f64,
    /// Requests that were sent again.
    pub retransmissions: u64,
    /// Part of a processor that the generator left unused.
    pub idle: f64,
}

/// Carries a cell out at a new server; gives its configuration too. With `half`, that is the rate of [`Work::Half`].
///
/// # Errors
/// When the server cannot be started, refuses something or ends.
pub fn measure(
    work: Work,
    kind: Kind,
    programs: &Programs,
    half: Option<f64>,
) -> anyhow::Result<(Measured, String)> {
    let plan = match work {
        Work::Load(plan) => plan,
        Work::Half(plan) => {
            Plan { pace: Pace::Rate(half.context("half a load needs the whole one before")?), ..plan }
        }
        Work::Allocate(count) => return measure_allocations(count, kind, programs),
    };
    let (server, mut flows, plan) = start(plan, kind, programs)?;
    let seen = flows.run(plan, Some(server.id()))?;
    let config = server.config.clone();
    server.stop()?;
    Ok((Measured::Load(seen), config))
}

/// System calls of a server for each relayed datagram, by name, most first.
///
/// # Errors
/// As [`measure`], or when strace cannot be attached.
pub fn syscalls(plan: Plan, kind: Kind, programs: &Programs) -> anyhow::Result<Vec<(String, f64)>> {
    let (server, mut flows, plan) = start(plan, kind, programs)?;
    let trace = Trace::attach(server.id())?;
    let seen = flows.run(plan, Some(server.id()))?;
    let calls = trace.end()?;
    server.stop()?;
    let arrived = seen.arrived.max(1) as f64;
    Ok(calls.into_iter().map(|(name, count)| (name, count as f64 / arrived)).collect())
}

fn start(plan: Plan, kind: Kind, programs: &Programs) -> anyhow::Result<(Server, Flows, Plan)> {
    let plan = match kind.is_turn() {
        true => plan,
        false => Plan { framing: Framing::Bare, ..plan },
    };
    let peer = peer_for(&plan, PEER.into())?;
    let peer_address = peer.as_ref().map(std::net::UdpSocket::local_addr).transpose()?;
    let server = Server::start(kind, programs, peer_address)?;
    let site = Site {
        server: server.address,
        secret: kind.is_turn().then_some(SECRET),
        peer_ip: PEER.into(),
        generation: 0,
    };
    let flows = Flows::open(&site, &plan, peer)?;
    Ok((server, flows, plan))
}

fn measure_allocations(count: usize, kind: Kind, programs: &Programs) -> anyhow::Result<(Measured, String)> {
    let server = Server::start(kind, programs, None)?;
    let site =
        |generation| Site { server: server.address, secret: Some(SECRET), peer_ip: PEER.into(), generation };
    // What the first ones need is not theirs alone.
    let _first = allocate(&site(1), 32, false)?;
    let (memory, cpu, own) =
        (process::memory(server.id())?, process::processor_time(server.id())?, process::own_time());
    let (_clients, _sessions, transacted) = allocate(&site(2), count, false)?;
    let (own, cpu) = (process::own_time() - own, process::processor_time(server.id())? - cpu);
    let grown = process::memory(server.id())?.saturating_sub(memory);
    let config = server.config.clone();
    server.stop()?;
    let seconds = transacted.took.as_secs_f64();
    let allocated = Allocated {
        count,
        per_second: count as f64 / seconds,
        memory: grown as f64 / count as f64,
        cpu_us: cpu.as_secs_f64() * 1e6 / count as f64,
        retransmissions: transacted.retransmissions,
        idle: 1.0 - own.as_secs_f64() / seconds,
    };
    Ok((Measured::Allocations(allocated), config))
}
