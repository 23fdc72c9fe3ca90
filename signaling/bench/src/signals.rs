//! Pairs that negotiate without end: offers, answers and candidates, each stamped.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use anyhow::{Context as _, bail};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::{
    task::JoinSet,
    time::{Instant, interval_at, timeout, timeout_at},
};
use turnpike_bench::histogram::{Latencies, Percentiles};

use crate::{
    crowd,
    report::own_processor_time,
    servers::Server,
    stranger::{Event, Stranger},
};

/// A client may send 20 events a second.
const EACH_PER_SECOND: f64 = 10.0;
/// Steps of one generation: an offer and an answer, and the rest candidates, of which 64 are allowed.
const STEPS: u64 = 60;
/// An offer of one video and one audio is about so long.
const SDP_BYTES: usize = 4000;
const SOON: Duration = Duration::from_secs(20);

/// What came of a load of signals.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Signals {
    /// Pairs that negotiate.
    pub pairs: usize,
    /// Signals a second that arrived at a partner.
    pub relayed: f64,
    /// From one stranger's socket to the other's, in microseconds.
    pub latency_us: Percentiles,
    /// Sent, and never there.
    pub lost: u64,
    /// There before one that was sent earlier, or twice.
    pub out_of_order: u64,
    /// Processor time of the server for a signal, in microseconds.
    pub server_us: f64,
    /// Processor time of the crowd for a signal, in microseconds.
    pub crowd_us: f64,
}

#[derive(Default)]
struct Seen {
    sent: u64,
    arrived: u64,
    out_of_order: u64,
    latency: Latencies,
}

/// Has pairs send `rate` signals a second in all for so long.
///
/// # Errors
/// When a signal is refused, a pair does not come about, or the server ends.
pub async fn signals(server: &Server, rate: f64, lasts: Duration) -> anyhow::Result<Signals> {
    let count = (rate / EACH_PER_SECOND / 2.0).ceil().max(1.0) as usize * 2;
    let mut pairs = paired(crowd::connect(server.address, count).await?).await?;
    let every = Duration::from_secs_f64(count as f64 / rate);
    let seen = Arc::new(Mutex::new(Seen::default()));
    let used = (server.processor_time()?, own_processor_time());
    let began = Instant::now();
    let mut talking = JoinSet::new();
    for (number, side) in pairs.drain(..).enumerate() {
        // Spread over the time between two.
        let first = began + every.mul_f64(number as f64 / count as f64);
        talking.spawn(talk(side, began, first, every, lasts, Arc::clone(&seen)));
    }
    // Whose partner listens longer stays, or that one would be told of it.
    let mut stay = Vec::with_capacity(count);
    while let Some(ended) = talking.join_next().await {
        stay.push(ended?.context("a pair's negotiation")?);
    }
    let took = lasts.as_secs_f64();
    let (server_time, crowd_time) = (server.processor_time()? - used.0, own_processor_time() - used.1);
    let seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
    let each = |time: Duration| time.as_secs_f64() * 1e6 / seen.arrived.max(1) as f64;
    Ok(Signals {
        pairs: count / 2,
        relayed: seen.arrived as f64 / took,
        latency_us: seen.latency.percentiles(),
        lost: seen.sent - seen.arrived.min(seen.sent),
        out_of_order: seen.out_of_order,
        server_us: each(server_time),
        crowd_us: each(crowd_time),
    })
}

/// One stranger of a started pair.
pub struct Side {
    /// Its socket.
    pub stranger: Stranger,
    /// The pair.
    pub pair: String,
    /// Whether it makes the first offer.
    pub is_initiator: bool,
}

/// Pairs all of them.
///
/// # Errors
/// When one stays without a partner.
pub async fn paired(strangers: Vec<Stranger>) -> anyhow::Result<Vec<Side>> {
    let mut pairing = JoinSet::new();
    for stranger in strangers {
        pairing.spawn(async move { timeout(SOON, join(stranger)).await.context("nobody came")? });
    }
    pairing.join_all().await.into_iter().collect()
}

async fn join(mut stranger: Stranger) -> anyhow::Result<Side> {
    stranger.send("queue.join", json!({"mode": "video", "interests": [], "privacy": "all"})).await?;
    let found = stranger.event_of("match.found").await?;
    let (pair, is_initiator) = (found.text("pair").to_owned(), found.text("role") == "initiator");
    stranger.send("match.accept", json!({"pair": pair})).await?;
    stranger.event_of("match.start").await?;
    Ok(Side { stranger, pair, is_initiator })
}

async fn talk(
    side: Side,
    zero: Instant,
    first: Instant,
    every: Duration,
    lasts: Duration,
    seen: Arc<Mutex<Seen>>,
) -> anyhow::Result<Stranger> {
    let Side { mut stranger, pair, is_initiator } = side;
    let (mut sent, mut arrived) = (0, 0);
    let (mut offer_waits, mut ticks) = (false, interval_at(first, every));
    let mut local = Latencies::default();
    let mut out_of_order = 0;
    let mut take = |event: &Event| -> anyhow::Result<bool> {
        match event.name.as_str() {
            "signal" => {}
            "match.ended" | "peer.state" => bail!("{} came in the middle", event.name),
            _ => return Ok(false),
        }
        let (number, at) = stamp_of(event).context("a signal without its stamp")?;
        out_of_order += u64::from(number != arrived);
        arrived += 1;
        local.record(zero.elapsed().saturating_sub(Duration::from_nanos(at)));
        Ok(event.payload["description"]["type"] == "offer")
    };
    while zero.elapsed() < lasts {
        tokio::select! {
            event = stranger.event() => offer_waits |= take(&event?)?,
            _ = ticks.tick() => {
                let stamp = format!("~{sent}~{}~", zero.elapsed().as_nanos());
                let step = match (is_initiator && sent % STEPS == 0, std::mem::take(&mut offer_waits)) {
                    (true, _) => description("offer", &stamp),
                    (false, true) => description("answer", &stamp),
                    (false, false) => candidate(&stamp),
                };
                let mut payload = json!({"pair": pair, "gen": sent / STEPS});
                payload.as_object_mut().context("an object")?.extend(step);
                stranger.signal(payload).await?;
                sent += 1;
            }
        }
    }
    // What is on its way is there within a second, or is late enough to be called lost.
    let until = Instant::now() + Duration::from_secs(2);
    while let Ok(event) = timeout_at(until, stranger.event()).await {
        take(&event?)?;
    }
    let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
    seen.sent += sent;
    seen.arrived += arrived;
    seen.out_of_order += out_of_order;
    seen.latency.add(&local);
    Ok(stranger)
}

fn description(kind: &str, stamp: &str) -> serde_json::Map<String, Value> {
    let mut sdp = format!(
        "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns={stamp}\r\nt=0 0\r\na=ice-ufrag:x\r\na=fingerprint:sha-256 AA\r\n"
    );
    while sdp.len() < SDP_BYTES {
        sdp.push_str("a=rtpmap:96 VP8/90000\r\n");
    }
    object(json!({"description": {"type": kind, "sdp": sdp}}))
}

fn candidate(stamp: &str) -> serde_json::Map<String, Value> {
    let text = format!("candidate:{stamp} 1 udp 2122260223 198.18.0.2 50000 typ host");
    object(json!({"candidates": [{"candidate": text, "sdpMid": "0", "sdpMLineIndex": 0}]}))
}

fn object(value: Value) -> serde_json::Map<String, Value> {
    match value {
        Value::Object(members) => members,
        _ => serde_json::Map::new(),
    }
}

/// The number and the time in nanoseconds between tildes.
fn stamp_of(event: &Event) -> Option<(u64, u64)> {
    let payload = &event.payload;
    let text = payload["description"]["sdp"].as_str().or(payload["candidates"][0]["candidate"].as_str())?;
    let mut parts = text.split('~').skip(1);
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stamp_is_read_back_from_every_step() {
        for step in [description("offer", "~7~1234~"), candidate("~7~1234~")] {
            let event = Event { name: "signal".into(), payload: Value::Object(step) };
            assert_eq!(stamp_of(&event), Some((7, 1234)));
        }
    }
}
