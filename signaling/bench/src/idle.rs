//! Sockets that do nothing but answer pings: what each costs in memory.

use std::time::Duration;

use rustix::process::{Resource, getrlimit};
use serde::{Deserialize, Serialize};
use tokio::{task::JoinSet, time::Instant};

use crate::{crowd, servers::Server};

/// What idle sockets cost.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Idle {
    /// How many.
    pub sockets: usize,
    /// Until all of them were greeted.
    pub connected_seconds: f64,
    /// Memory of the server for each, in KiB.
    pub memory_kib: f64,
    /// Share of a processor that the server takes to keep all of them alive.
    pub server_cpu: f64,
    /// Sockets that ended while they were watched.
    pub lost: usize,
}

/// Files of a process beside its sockets.
const OTHER_FILES: usize = 100;

/// Connects `count` sockets, or as many as the limit of open files leaves, and watches them for so long.
///
/// # Errors
/// When the server refuses one or ends.
pub async fn idle(server: &Server, count: usize, lasts: Duration) -> anyhow::Result<Idle> {
    let files = getrlimit(Resource::Nofile).current.map_or(usize::MAX, |files| files as usize);
    let count = count.min(files.saturating_sub(OTHER_FILES));
    let before = server.memory()?;
    let began = Instant::now();
    let strangers = crowd::connect(server.address, count).await?;
    let connected_seconds = began.elapsed().as_secs_f64();
    let used = server.processor_time()?;
    let until = Instant::now() + lasts;
    let mut watching = JoinSet::new();
    for mut stranger in strangers {
        watching.spawn(async move {
            let listening = async { while stranger.event().await.is_ok() {} };
            let is_lost = tokio::time::timeout_at(until, listening).await.is_ok();
            (stranger, is_lost)
        });
    }
    let watched = watching.join_all().await;
    let server_cpu = (server.processor_time()? - used).as_secs_f64() / lasts.as_secs_f64();
    let memory_kib = server.memory()?.saturating_sub(before) as f64 / 1024.0 / count as f64;
    let lost = watched.iter().filter(|(_, is_lost)| *is_lost).count();
    Ok(Idle { sockets: count, connected_seconds, memory_kib, server_cpu, lost })
}
