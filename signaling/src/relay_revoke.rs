//! Tells this node's own relay which pairs have ended: their allocations end there, and their credentials serve nobody
//! any more. Without that, a client could keep its allocation by refreshing it.

use std::{path::Path, sync::Arc, time::Duration};

use tokio::{sync::mpsc, time::Instant};
use tokio_util::sync::CancellationToken;
use turnpike_matching::Id;
use turnpike_relay_api::{
    admin::{REVOKE, Revoke, Revoked},
    target::Target,
};

use crate::{
    clock::Clock,
    metrics::Metrics,
    relay_admin::{self, Failure},
};

/// Clients end their allocations by themselves first: a pair that ends is the usual end of a call.
const AFTER: Duration = Duration::from_secs(5);
/// How soon a relay that did not answer is told again.
const AGAIN: Duration = Duration::from_secs(1);
/// Ended pairs that may wait; more are left to the expiry of their credentials.
const WAITING: usize = 16_384;
/// In the end, what waits is told at once, all of it within this time.
const FINISH_WITHIN: Duration = Duration::from_millis(500);

/// Where ended pairs are put.
pub(crate) struct EndedPairs {
    sender: mpsc::Sender<Ended>,
    metrics: Arc<Metrics>,
}

/// The other end, for [`tell`].
pub(crate) struct Waiting {
    receiver: mpsc::Receiver<Ended>,
    metrics: Arc<Metrics>,
}

#[derive(Debug)]
struct Ended {
    pair: Id,
    /// When the last credential of the pair expires, in Unix seconds.
    until: u64,
    due: Instant,
}

/// A queue of ended pairs.
pub(crate) fn queue(metrics: &Arc<Metrics>) -> (EndedPairs, Waiting) {
    let (sender, receiver) = mpsc::channel(WAITING);
    (EndedPairs { sender, metrics: Arc::clone(metrics) }, Waiting { receiver, metrics: Arc::clone(metrics) })
}

impl EndedPairs {
    /// Takes a pair that has ended, whose last credential expires then.
    pub(crate) fn put(&self, pair: Id, until: u64) {
        if self.sender.try_send(Ended { pair, until, due: Instant::now() + AFTER }).is_err() {
            count(&self.metrics, "dropped");
        }
    }
}

/// Tells the relay of each pair, five seconds after its end, until stopped.
pub(crate) async fn tell(socket: &Path, mut waiting: Waiting, clock: Clock, stop: CancellationToken) {
    let mut in_hand = None;
    let telling = async {
        loop {
            let Some(ended) = waiting.receiver.recv().await else { return };
            let due = ended.due;
            in_hand = Some(ended);
            tokio::time::sleep_until(due).await;
            while let Some(ended) = &in_hand {
                let told = tell_one(socket, ended, &waiting.metrics).await;
                let expired = clock.unix().as_secs() >= ended.until;
                match told {
                    Ok(()) => in_hand = None,
                    Err(Away) if expired => {
                        count(&waiting.metrics, "expired");
                        in_hand = None;
                    }
                    Err(Away) => tokio::time::sleep(AGAIN).await,
                }
            }
        }
    };
    stop.run_until_cancelled(telling).await;
    let rest = async {
        while let Some(ended) = in_hand.take().or_else(|| waiting.receiver.try_recv().ok()) {
            let _ = tell_one(socket, &ended, &waiting.metrics).await;
        }
    };
    // What is left then expires by itself.
    let _ = tokio::time::timeout(FINISH_WITHIN, rest).await;
}

/// The relay was not there to be told.
struct Away;

async fn tell_one(socket: &Path, ended: &Ended, metrics: &Metrics) -> Result<(), Away> {
    let revoke = Revoke { target: Target::Pair(ended.pair.to_string()), until: Some(ended.until) };
    match relay_admin::post::<Revoked>(socket, REVOKE, &revoke).await {
        Ok(_) => count(metrics, "revoked"),
        Err(Failure::Away(error)) => {
            tracing::debug!(%error, pair = %ended.pair, "the relay could not be told that a pair has ended");
            count(metrics, "retried");
            return Err(Away);
        }
        Err(Failure::Refused(status)) => {
            tracing::debug!(%status, pair = %ended.pair, "the relay refuses to end a pair");
            count(metrics, "refused");
        }
    }
    Ok(())
}

fn count(metrics: &Metrics, result: &str) {
    metrics.credentials_revoked.with_label_values(&["pair", result]).inc();
}
