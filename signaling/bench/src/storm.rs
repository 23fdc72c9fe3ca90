//! A restart under many live pairs: everybody comes back at once.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use rand::Rng as _;
use serde::{Deserialize, Serialize};
use tokio::{
    sync::Barrier,
    task::JoinSet,
    time::{Instant, sleep, timeout},
};

use crate::{
    crowd,
    servers::{Programs, Server},
    signals::paired,
    stranger::Stranger,
};

/// As the client library does: half a second, doubled to five, each by up to a half more or less.
const FIRST_DELAY: Duration = Duration::from_millis(500);
const LONGEST_DELAY: Duration = Duration::from_secs(5);
/// A session is kept for 30 s.
const GIVE_UP: Duration = Duration::from_secs(30);

/// What came of a restart.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Storm {
    /// Clients with a live pair.
    pub clients: usize,
    /// From SIGTERM to the first greeting of the next process.
    pub away_seconds: f64,
    /// From SIGTERM until half of them had their session again.
    pub half_back_seconds: f64,
    /// From SIGTERM until 99 % had.
    pub back_99_seconds: f64,
    /// Clients that came back to their session.
    pub back: usize,
    /// Of them, those whose pair lived.
    pub pairs_resumed: usize,
}

/// Restarts the server under `clients` strangers in pairs.
///
/// # Errors
/// When the server refuses one before, or does not restart.
pub async fn storm(server: Server, programs: &Programs, clients: usize) -> anyhow::Result<(Server, Storm)> {
    let address = server.address;
    let sides = paired(crowd::connect(address, clients).await?).await?;
    let ready = Arc::new(Barrier::new(clients + 1));
    let mut coming_back = JoinSet::new();
    for (number, side) in sides.into_iter().enumerate() {
        let ready = Arc::clone(&ready);
        coming_back.spawn(async move {
            ready.wait().await;
            back(address, number, side.stranger, &side.pair).await
        });
    }
    ready.wait().await;
    let began = Instant::now();
    let (server, away) = server.restart(programs).await?;
    let mut times = Vec::new();
    let mut pairs_resumed = 0;
    // Those who are back stay, or their partners would be told of it.
    let mut sockets = Vec::new();
    while let Some(ended) = coming_back.join_next().await {
        if let Some((at, stranger, has_pair)) = ended? {
            times.push((at - began).as_secs_f64());
            sockets.push(stranger);
            pairs_resumed += usize::from(has_pair);
        }
    }
    times.sort_by(f64::total_cmp);
    let at = |part: f64| times.get(((clients as f64 * part).ceil() as usize).max(1) - 1).copied();
    Ok((
        server,
        Storm {
            clients,
            away_seconds: away.as_secs_f64(),
            half_back_seconds: at(0.5).unwrap_or(f64::INFINITY),
            back_99_seconds: at(0.99).unwrap_or(f64::INFINITY),
            back: times.len(),
            pairs_resumed,
        },
    ))
}

/// Listens until the socket is gone, then tries to come back; when it is, and whether the pair is there.
async fn back(
    server: SocketAddr,
    number: usize,
    mut stranger: Stranger,
    pair: &str,
) -> Option<(Instant, Stranger, bool)> {
    while stranger.event().await.is_ok() {}
    let lost = Instant::now();
    let mut delay = FIRST_DELAY;
    let session = stranger.session;
    while lost.elapsed() < GIVE_UP {
        let jitter = rand::rng().random_range(0.5..1.5);
        sleep(delay.mul_f64(jitter)).await;
        let again = Stranger::resume(server, crowd::source(number), &session);
        if let Ok(Ok((stranger, resumed))) = timeout(GIVE_UP, again).await {
            let has_pair = resumed.text("pair") == pair && resumed.text("state") == "active";
            return Some((Instant::now(), stranger, has_pair));
        }
        delay = (delay * 2).min(LONGEST_DELAY);
    }
    None
}
