//! Running what was bound, and ending it: by a drain or at once.

use std::{
    sync::{Arc, mpsc},
    thread,
    time::Duration,
};

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use turnpike_proto::Cause;
use turnpike_relay_api::admin::Traffic;

use crate::{
    Relay, admin, metrics,
    shard::Command,
    tls::acme::{self, Challenges},
    view::View,
};

/// What a relay has done.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Summary {
    /// Allocations made.
    pub allocations_created: u64,
    /// Allocations ended; as many as were made.
    pub allocations_closed: u64,
    /// What flowed through all of them.
    pub traffic: Traffic,
}

impl Relay {
    /// Serves until `stop` is cancelled, or until `drain` is and then nobody is left or `relay.drain_timeout` is
    /// over. When this returns, every allocation has been closed, counted and logged.
    ///
    /// # Panics
    /// When a shard has panicked. The others have then closed their allocations.
    pub async fn serve(self, drain: CancellationToken, stop: CancellationToken) -> Summary {
        let mut http = JoinSet::new();
        let admin_api = admin::router(Arc::clone(&self.view));
        http.spawn(async move { axum::serve(self.admin, admin_api).await });
        if let Some(listener) = self.metrics {
            let endpoints = metrics::router(Arc::clone(&self.view));
            http.spawn(async move { axum::serve(listener, endpoints).await });
        }
        if let Some(tls) = &self.view.node.tls {
            let watch = Arc::clone(tls).watch();
            http.spawn(async move {
                watch.await;
                Ok(())
            });
        }
        if let (Some(acme), Some(tls)) = (self.acme, &self.view.node.tls) {
            let challenges = Arc::new(Challenges::default());
            for listener in acme.listeners {
                let (challenges, domain) = (Arc::clone(&challenges), acme.config.domain.clone());
                http.spawn(async move {
                    acme::serve(listener, challenges, &domain, acme.tls_port).await;
                    Ok(())
                });
            }
            let renewal = acme::renew(Arc::clone(tls), acme.config, challenges);
            http.spawn(async move {
                renewal.await;
                Ok(())
            });
        }
        if let Some(reception) = self.reception {
            http.spawn(async move {
                reception.serve().await;
                Ok(())
            });
        }
        if let Some(webhook) = self.webhook {
            http.spawn(async move {
                webhook.serve().await;
                Ok(())
            });
        }
        for worker in &self.workers {
            worker.start();
        }
        let _tries = try_itself(&self.view);
        let cause = tokio::select! {
            cause = until_end(&self.view, self.drain_timeout, &drain, &stop) => cause,
            () = self.any_shard_ended.cancelled() => Cause::Shutdown,
        };
        self.view.shards.iter().for_each(|shard| shard.insist(Command::Close(cause)));
        let mut outcomes = Vec::new();
        for worker in self.workers {
            outcomes.push(worker.outcome.await);
        }
        self.view.node.failures.tell();
        self.view.ledger.close().await;
        let mut summary = Summary::default();
        for outcome in outcomes {
            let outcome = outcome.expect("a shard has panicked, as logged above");
            summary.allocations_created += outcome.created;
            summary.allocations_closed += outcome.closed;
            summary.traffic.add(&outcome.traffic);
        }
        summary
    }
}

/// The end of the thread in which a node tries itself, when dropped.
struct Tries {
    _end: mpsc::Sender<()>,
}

/// A try that goes on when the process ends is let go with it.
fn try_itself(view: &Arc<View>) -> Tries {
    let (sender, end) = mpsc::channel();
    if let Some(self_test) = view.node.self_test.clone() {
        let view = Arc::clone(view);
        let run = move || self_test.run(|| view.is_draining(), &end);
        if let Err(error) = thread::Builder::new().name("selftest".to_owned()).spawn(run) {
            tracing::warn!(code = "selftest_off", %error, "there is no thread for the relay to try itself");
        }
    }
    Tries { _end: sender }
}

/// Waits until there is no allocation and nobody at the front door: signaling ends its sockets when it has drained.
async fn until_nobody(view: &View) {
    view.node.shared.until_idle().await;
    if let Some(front_door) = &view.node.front_door {
        front_door.until_empty().await;
    }
    view.node.shared.until_idle().await;
}

async fn until_end(
    view: &View,
    drain_timeout: Duration,
    drain: &CancellationToken,
    stop: &CancellationToken,
) -> Cause {
    tokio::select! {
        biased;
        () = stop.cancelled() => return Cause::Shutdown,
        () = drain.cancelled() => {}
    }
    view.leave();
    let shared = &view.node.shared;
    tracing::info!(
        allocations = shared.allocations(),
        timeout_seconds = drain_timeout.as_secs(),
        "draining: new allocations are refused"
    );
    tokio::select! {
        biased;
        () = stop.cancelled() => Cause::Shutdown,
        () = until_nobody(view) => Cause::Drain,
        () = tokio::time::sleep(drain_timeout) => Cause::Drain,
    }
}
