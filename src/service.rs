//! What every service does around serving: load, log, run, and notice an end that nobody asked for.

use std::sync::Arc;

use anyhow::{Context as _, anyhow};
use tokio::task::JoinHandle;
use turnpike_config::{Config, Loaded, MissingSecret};

use crate::{
    address,
    commands::ConfigFile,
    logging::{self, Levels},
    reloading::{Reloading, Services},
    stopping::Stopping,
    supervisor,
};

/// Loads the configuration for a service and starts to log; the secret is made when missing.
///
/// # Errors
/// Everything that is wrong with the configuration.
pub(crate) fn load(file: &ConfigFile, this_machine: bool) -> anyhow::Result<(Loaded, Levels)> {
    let loaded = file.load(MissingSecret::Make, this_machine)?;
    let levels = logging::start(&loaded.config.log)?;
    for note in &loaded.notes {
        match note.is_warning() {
            true => tracing::warn!("{note}"),
            false => tracing::info!("{note}"),
        }
    }
    let node = &loaded.config.node;
    let addresses: Vec<String> = node.public_addresses().map(ToString::to_string).collect();
    let addresses = addresses.join(" and ");
    tracing::info!(version = env!("CARGO_PKG_VERSION"), node = node.name, "advertising {addresses}");
    Ok((loaded, levels))
}

/// Runs a service to its end.
///
/// # Errors
/// Those of the service, and a runtime that does not start.
pub(crate) fn block_on(service: impl Future<Output = anyhow::Result<()>>) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    runtime
        .context("the async runtime does not start; `ulimit -u` and `ulimit -n` may be too low")?
        .block_on(service)
}

/// Everything is bound: says so, and from here on shows that it is alive, reloads when told to, and notices
/// that its address has changed.
pub(crate) fn started(config: &Config, reloading: Reloading, services: Services) {
    let services = Arc::new(services);
    address::watch(config, Arc::clone(&services));
    let alive = Arc::clone(&services);
    supervisor::started(move || alive.are_alive());
    reloading.serve(services);
}

/// Waits for a service. When it ends before its time, the other is told to end too.
///
/// # Errors
/// When nobody asked it to end.
pub(crate) async fn outcome<T>(name: &str, served: JoinHandle<T>, stopping: &Stopping) -> anyhow::Result<()> {
    let result = served.await;
    let asked = stopping.drain.is_cancelled() || stopping.stop.is_cancelled();
    if result.is_ok() && asked {
        return Ok(());
    }
    stopping.end();
    Err(anyhow!("{name} has failed; the log above says why"))
}
