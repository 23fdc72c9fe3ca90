//! A call's thin flow: small datagrams from one allocation to another and back.

use std::{
    thread,
    time::{Duration, Instant},
};

use turnpike_turn_client::{Allocation, Error};

const DATAGRAMS: u32 = 50;
/// As a voice sends them.
const EVERY: Duration = Duration::from_millis(20);
/// As long as 20 ms of Opus with its headers.
const LENGTH: usize = 172;
/// What has not come by then is lost.
const LOST_AFTER: Duration = Duration::from_secs(1);

/// What came back.
pub(super) struct Echo {
    pub(super) sent: u32,
    /// Times there and back, sorted.
    pub(super) times: Vec<Duration>,
}

impl Echo {
    pub(super) fn lost(&self) -> f64 {
        1.0 - self.times.len() as f64 / f64::from(self.sent)
    }

    /// The time within which this share of those that came back did.
    pub(super) fn within(&self, share: f64) -> Option<Duration> {
        let last = self.times.len().checked_sub(1)?;
        Some(self.times[(last as f64 * share).round() as usize])
    }
}

/// Sends each datagram when the one before is back or lost.
///
/// # Errors
/// Of the connections.
pub(super) fn run(there: &mut Allocation, back: &mut Allocation) -> Result<Echo, Error> {
    let mut times = Vec::new();
    let mut payload = [0; LENGTH];
    for number in 0..DATAGRAMS {
        let sent = Instant::now();
        payload[..4].copy_from_slice(&number.to_be_bytes());
        there.send(back.relayed(), &payload)?;
        if hear(back, &payload)? {
            back.send(there.relayed(), &payload)?;
            if hear(there, &payload)? {
                times.push(sent.elapsed());
            }
        }
        thread::sleep(EVERY.saturating_sub(sent.elapsed()));
    }
    times.sort_unstable();
    Ok(Echo { sent: DATAGRAMS, times })
}

/// Waits for exactly this; a late one of before is passed over.
fn hear(allocation: &mut Allocation, payload: &[u8]) -> Result<bool, Error> {
    let deadline = Instant::now() + LOST_AFTER;
    while let Some(datagram) = allocation.receive(deadline.saturating_duration_since(Instant::now()))? {
        if datagram.payload == payload {
            return Ok(true);
        }
    }
    Ok(false)
}
