//! Strangers who are paired, consent, part, and want the next one.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use anyhow::Context as _;
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::{
    sync::Semaphore,
    task::JoinSet,
    time::{Instant, interval, timeout},
};
use turnpike_bench::histogram::{Latencies, Percentiles};

use crate::{
    crowd,
    ledger::{Pairs, Wrong},
    report::own_processor_time,
    servers::Server,
    stranger::Stranger,
};

/// How long a pair stays together.
const TOGETHER: Duration = Duration::from_millis(500);
/// The longest that anything takes which is not lost.
const SOON: Duration = Duration::from_secs(20);
const TICK: Duration = Duration::from_millis(2);

/// What came of a load of matches.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Matches {
    /// Matches a second that were asked for.
    pub offered: f64,
    /// Pairs a second that started on both sides.
    pub started: f64,
    /// From a join to the pair, for who found a partner waiting, in microseconds.
    pub join_to_found_us: Percentiles,
    /// Pairs that must not be.
    pub wrong: Wrong,
    /// Processor time of the server for a match, in microseconds.
    pub server_us: f64,
    /// Processor time of the crowd for a match, in microseconds.
    pub crowd_us: f64,
}

#[derive(Default)]
struct Seen {
    pairs: Pairs,
    found: Latencies,
}

/// Has `count` strangers join at twice `rate` a second for so long.
///
/// # Errors
/// When one of them is refused or waits for ever, or the server ends.
pub async fn matches(server: &Server, count: usize, rate: f64, lasts: Duration) -> anyhow::Result<Matches> {
    let strangers = crowd::connect(server.address, count).await?;
    let seen = Arc::new(Mutex::new(Seen::default()));
    let turns = Arc::new(Semaphore::new(0));
    let mut living = JoinSet::new();
    for stranger in strangers {
        living.spawn(live(stranger, Arc::clone(&turns), Arc::clone(&seen)));
    }
    let used = (server.processor_time()?, own_processor_time());
    let began = Instant::now();
    let (mut given, mut ticks) = (0, interval(TICK));
    while began.elapsed() < lasts {
        ticks.tick().await;
        // An even number at a time: nobody is left over in the end.
        let due = (began.elapsed().as_secs_f64() * rate) as usize * 2;
        turns.add_permits(due - given);
        given = due;
        if let Some(ended) = living.try_join_next() {
            ended?.context("a stranger's life ended early")?;
        }
    }
    let took = began.elapsed().as_secs_f64();
    let server_time = server.processor_time()? - used.0;
    let crowd_time = own_processor_time() - used.1;
    let so_far = seen.lock().unwrap_or_else(PoisonError::into_inner).pairs.whole();
    turns.close();
    while let Some(ended) = living.join_next().await {
        ended??;
    }
    let seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
    let each = |time: Duration| time.as_secs_f64() * 1e6 / so_far.max(1) as f64;
    Ok(Matches {
        offered: rate,
        started: so_far as f64 / took,
        join_to_found_us: seen.found.percentiles(),
        wrong: seen.pairs.wrong(),
        server_us: each(server_time),
        crowd_us: each(crowd_time),
    })
}

/// Takes turns until there are no more.
async fn live(mut stranger: Stranger, turns: Arc<Semaphore>, seen: Arc<Mutex<Seen>>) -> anyhow::Result<()> {
    loop {
        let turn = tokio::select! {
            turn = turns.acquire() => turn,
            // Pings come while it waits.
            event = stranger.event() => {
                event?;
                continue;
            }
        };
        let Ok(turn) = turn else { return Ok(()) };
        turn.forget();
        match timeout(SOON, meet(&mut stranger, &seen)).await {
            Ok(met) => met?,
            // The last one of all has nobody left to meet.
            Err(_) if turns.is_closed() => return Ok(()),
            Err(error) => return Err(error).context("a stranger who has joined is not paired"),
        }
    }
}

async fn meet(stranger: &mut Stranger, seen: &Mutex<Seen>) -> anyhow::Result<()> {
    let joined = Instant::now();
    stranger.send("queue.join", json!({"mode": "video", "interests": [], "privacy": "all"})).await?;
    loop {
        let found = stranger.event_of("match.found").await?;
        let (pair, role) = (found.text("pair").to_owned(), found.text("role").to_owned());
        {
            let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
            seen.pairs.found(&pair, &stranger.session.id);
            if role == "responder" {
                seen.found.record(joined.elapsed());
            }
        }
        stranger.send("match.accept", json!({"pair": pair})).await?;
        let next = loop {
            let event = stranger.event().await?;
            if matches!(event.name.as_str(), "match.start" | "match.ended") {
                break event.name;
            }
        };
        if next == "match.ended" {
            // The partner did not consent: who did is back in the queue.
            continue;
        }
        seen.lock().unwrap_or_else(PoisonError::into_inner).pairs.started(&pair);
        if role == "initiator" {
            tokio::time::sleep(TOGETHER).await;
            stranger.send("match.leave", json!({"pair": pair})).await?;
        }
        stranger.event_of("match.ended").await?;
        return Ok(());
    }
}
