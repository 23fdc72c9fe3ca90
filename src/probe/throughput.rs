//! As much as the way bears, from one allocation to another. The far end tells what has come; the window of datagrams on
//! their way grows while all do, and is halved when some are lost, so that a narrow way is filled and not flooded.

use std::{
    net::SocketAddr,
    sync::atomic::{AtomicBool, AtomicU32, Ordering},
    thread,
    time::{Duration, Instant},
};

use turnpike_turn_client::{Allocation, Error};

/// A datagram of video: fits every path.
const LENGTH: usize = 1_200;
/// Datagrams on their way, at first and at least; as few as the far end must tell of.
const LEAST: u32 = 16;
/// And at most: 1.2 MB.
const MOST: u32 = 1_024;
/// The far end tells once in so many.
const TELL_EVERY: u32 = 8;
/// Nothing told for this long: what was on its way is lost.
const LOST_AFTER: Duration = Duration::from_millis(300);

/// What came through.
pub(super) struct Flow {
    pub(super) sent: u32,
    pub(super) received: u32,
    pub(super) took: Duration,
}

impl Flow {
    /// Payload, in 10^6 bits a second.
    pub(super) fn megabits_per_second(&self) -> f64 {
        f64::from(self.received) * (LENGTH * 8) as f64 / self.took.as_secs_f64() / 1e6
    }

    pub(super) fn lost(&self) -> f64 {
        1.0 - f64::from(self.received) / f64::from(self.sent.max(1))
    }
}

/// Fills the way for so long.
///
/// # Errors
/// Of the connections.
pub(super) fn run(from: &mut Allocation, to: &mut Allocation, lasting: Duration) -> Result<Flow, Error> {
    let (peer, source) = (to.relayed(), from.relayed());
    let (over, received) = (AtomicBool::new(false), AtomicU32::new(0));
    let started = Instant::now();
    let sent = thread::scope(|scope| {
        let far = scope.spawn(|| -> Result<(), Error> {
            while !over.load(Ordering::Acquire) {
                let Some(datagram) = to.receive(Duration::from_millis(50))? else { continue };
                if datagram.payload.len() != LENGTH {
                    continue;
                }
                let count = received.fetch_add(1, Ordering::Relaxed) + 1;
                if count.is_multiple_of(TELL_EVERY) {
                    let word = [&datagram.payload[..4], &count.to_be_bytes()].concat();
                    to.send(source, &word)?;
                }
            }
            Ok(())
        });
        let sent = fill(from, peer, started + lasting);
        over.store(true, Ordering::Release);
        far.join().expect("it does not panic")?;
        sent
    })?;
    Ok(Flow { sent, received: received.into_inner(), took: started.elapsed() })
}

/// Sends until then, and waits for the last ones; tells how many.
fn fill(from: &mut Allocation, peer: SocketAddr, until: Instant) -> Result<u32, Error> {
    let mut payload = [0; LENGTH];
    let (mut sent, mut window) = (0, LEAST);
    let mut told = Told::default();
    loop {
        let is_over = Instant::now() >= until;
        if !is_over && sent - told.reached < window {
            payload[..4].copy_from_slice(&sent.to_be_bytes());
            from.send(peer, &payload)?;
            sent += 1;
            continue;
        }
        let word = from.receive(LOST_AFTER)?.and_then(|word| Told::read(&word.payload));
        window = match word {
            Some(word) if word.lost() > told.lost() => window / 2,
            Some(_) => window + 1,
            None => LEAST,
        }
        .clamp(LEAST, MOST);
        told = match word {
            // What comes late comes all the same.
            Some(word) => Told { reached: word.reached.clamp(told.reached, sent), ..word },
            None => Told { reached: sent, ..told },
        };
        if is_over && sent - told.reached < TELL_EVERY {
            return Ok(sent);
        }
    }
}

/// What the far end has told last.
#[derive(Debug, Clone, Copy, Default)]
struct Told {
    /// The number behind the last one that came.
    reached: u32,
    came: u32,
}

impl Told {
    fn read(word: &[u8]) -> Option<Self> {
        let (number, rest) = word.split_first_chunk()?;
        let came = rest.first_chunk()?;
        Some(Self { reached: u32::from_be_bytes(*number).saturating_add(1), came: u32::from_be_bytes(*came) })
    }

    fn lost(self) -> u32 {
        self.reached.saturating_sub(self.came)
    }
}
