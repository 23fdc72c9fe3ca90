//! Long or large runs against ours: many live allocations, and a soak.

use std::time::{Duration, Instant};

use serde::Serialize;

use crate::{
    cells::OURS,
    flows::{Flows, Site, allocate, peer_for},
    framing::Framing,
    load::{Pace, Path, Plan, Seen},
    process,
    servers::{PEER, Programs, SECRET, Server},
};

/// What many live allocations cost.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Many {
    /// How many.
    pub count: usize,
    /// Until all of them were there, with the 401 exchange of each.
    pub set_up_seconds: f64,
    /// Memory of the server for each, in KiB.
    pub memory_kib: f64,
    /// A thin flow among them.
    pub flow: Seen,
    /// The same among no others, before them.
    pub flow_alone: Seen,
    /// From SIGTERM to the end of the process, with all of them live.
    pub shut_down_seconds: f64,
}

/// Makes `count` allocations, sends a thin flow of one among them, and ends the server under all of them.
///
/// # Errors
/// When the server cannot be started, refuses something or ends.
pub fn many(count: usize, seconds: f64, programs: &Programs) -> anyhow::Result<Many> {
    let plan = Plan {
        flows: 1,
        payload: 1000,
        burst: 1,
        in_one_piece: false,
        path: Path::Echo,
        framing: Framing::Channel,
        pace: Pace::Rate(1000.0),
        seconds,
    };
    let server = Server::start(OURS, programs, None)?;
    let site =
        |generation| Site { server: server.address, secret: Some(SECRET), peer_ip: PEER.into(), generation };
    let mut alone = Flows::open(&site(1), &plan, peer_for(&plan, PEER.into())?)?;
    let flow_alone = alone.run(plan, Some(server.id()))?;
    let before = process::memory(server.id())?;
    let (clients, sessions, made) = allocate(&site(2), count, false)?;
    let grown = process::memory(server.id())?.saturating_sub(before);
    let mut among = Flows::among(clients, sessions, &plan, peer_for(&plan, PEER.into())?)?;
    let flow = among.run(plan, Some(server.id()))?;
    let shut_down = server.stop()?;
    Ok(Many {
        count,
        set_up_seconds: made.took.as_secs_f64(),
        memory_kib: grown as f64 / 1024.0 / count as f64,
        flow,
        flow_alone,
        shut_down_seconds: shut_down.as_secs_f64(),
    })
}

/// What a soak has shown.
#[derive(Debug, Clone, Serialize)]
pub struct Soak {
    /// Relayed datagrams a second at saturation, of which a part was offered.
    pub capacity: f64,
    /// Each slice of the load.
    pub slices: Vec<Slice>,
    /// Growth of the server's memory after the first quarter, in KiB a minute, by least squares.
    pub slope_kib_a_minute: f64,
    /// Datagrams that were sent and did not arrive.
    pub lost: u64,
    /// Of them, those in no counter that the server exports: neither its own nor the kernel's of receive buffers, which
    /// counts a burst as one.
    pub uncounted: u64,
}

/// A slice of a soak.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Slice {
    /// When it ended, in minutes since the beginning.
    pub minute: f64,
    /// Memory of the server then, in KiB.
    pub memory_kib: f64,
    /// What the server has counted as dropped so far.
    pub dropped: u64,
    /// Bursts that did not fit into a receive buffer so far.
    pub overflown: u64,
    /// What was sent and arrived.
    pub seen: Seen,
}

/// Loads ours with bursts and thin flows for so long at `part` of what it can, in slices of `slice` seconds.
///
/// # Errors
/// When the server cannot be started, refuses something or ends.
pub fn soak(
    lasts: Duration,
    slice: f64,
    part: f64,
    programs: &Programs,
    mut tell: impl FnMut(&str),
) -> anyhow::Result<Soak> {
    let saturated = Plan {
        flows: 100,
        payload: 1000,
        burst: 4,
        in_one_piece: true,
        path: Path::Echo,
        framing: Framing::Channel,
        pace: Pace::Saturated,
        seconds: slice,
    };
    let server = Server::start(OURS, programs, None)?;
    let site = Site { server: server.address, secret: Some(SECRET), peer_ip: PEER.into(), generation: 0 };
    let mut flows = Flows::open(&site, &saturated, peer_for(&saturated, PEER.into())?)?;
    let capacity = flows.run(saturated, Some(server.id()))?.delivered;
    let plan = Plan { pace: Pace::Rate(capacity * part), ..saturated };
    let counted = || -> anyhow::Result<(u64, u64)> {
        Ok((server.dropped()?.unwrap_or(0), server.overflown()?.unwrap_or(0)))
    };
    let before = counted()?;
    let began = Instant::now();
    let mut refreshed = began;
    let mut slices: Vec<Slice> = Vec::new();
    while began.elapsed() < lasts {
        let seen = flows.run(plan, Some(server.id()))?;
        let now = counted()?;
        let (dropped, overflown) = (now.0 - before.0, now.1 - before.1);
        let memory_kib = process::memory(server.id())? as f64 / 1024.0;
        let minute = began.elapsed().as_secs_f64() / 60.0;
        tell(&format!(
            "minute {minute:.1}: {:.0} delivered/s, {} lost; so far {dropped} dropped and {overflown} bursts that found a \
             buffer full; memory {memory_kib:.0} KiB",
            seen.delivered,
            seen.sent - seen.arrived.min(seen.sent),
        ));
        slices.push(Slice { minute, memory_kib, dropped, overflown, seen });
        // An allocation lives 10 minutes, a permission 5.
        if refreshed.elapsed() > Duration::from_secs(120) {
            flows.refresh()?;
            refreshed = Instant::now();
        }
    }
    server.stop()?;
    let lost: u64 =
        slices.iter().map(|slice| slice.seen.sent - slice.seen.arrived.min(slice.seen.sent)).sum();
    let burst = saturated.burst as u64;
    let counted = slices.last().map_or(0, |slice| slice.dropped + slice.overflown * burst);
    let late = lasts.as_secs_f64() / 240.0;
    let points: Vec<(f64, f64)> = slices
        .iter()
        .filter(|slice| slice.minute > late)
        .map(|slice| (slice.minute, slice.memory_kib))
        .collect();
    Ok(Soak {
        capacity,
        slope_kib_a_minute: slope(&points),
        lost,
        uncounted: lost.saturating_sub(counted),
        slices,
    })
}

/// Of a line through points by least squares.
fn slope(points: &[(f64, f64)]) -> f64 {
    let count = points.len() as f64;
    let mean = |value: fn(&(f64, f64)) -> f64| points.iter().map(value).sum::<f64>() / count;
    let (x, y) = (mean(|point| point.0), mean(|point| point.1));
    let above: f64 = points.iter().map(|point| (point.0 - x) * (point.1 - y)).sum();
    let below: f64 = points.iter().map(|point| (point.0 - x).powi(2)).sum();
    if below == 0.0 { 0.0 } else { above / below }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slope_is_that_of_the_line() {
        assert_eq!(slope(&[(1.0, 5.0), (2.0, 7.0), (3.0, 9.0)]), 2.0);
        assert_eq!(slope(&[(1.0, 5.0)]), 0.0);
        assert_eq!(slope(&[]), 0.0);
    }
}
