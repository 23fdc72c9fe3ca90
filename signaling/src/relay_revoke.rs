//! Tells this node's own relay which pairs have ended: their allocations end there, and their credentials serve nobody
//! any more. Without that, a client could keep its allocation by refreshing it.

use std::{iter, path::Path, sync::Arc, time::Duration};

use futures_util::future::join_all;
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
/// Pairs that the relay is told of at the same time.
const AT_ONCE: usize = 32;
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

#[derive(Debug, Clone)]
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
            count(&self.metrics, "dropped", 1);
        }
    }
}

/// Tells the relay of each pair, five seconds after its end, until stopped.
pub(crate) async fn tell(socket: &Path, waiting: Waiting, clock: Clock, stop: CancellationToken) {
    let Waiting { mut receiver, metrics } = waiting;
    let (mut next, mut in_hand) = (None::<Ended>, Vec::new());
    let telling = async {
        loop {
            if next.is_none() {
                next = receiver.recv().await;
            }
            let Some(due) = next.as_ref().map(|ended| ended.due) else { return };
            tokio::time::sleep_until(due).await;
            while in_hand.len() < AT_ONCE
                && let Some(ended) = next.take_if(|ended| ended.due <= Instant::now())
            {
                in_hand.push(ended);
                next = receiver.try_recv().ok();
            }
            tell_all(socket, &mut in_hand, &metrics).await;
            while !in_hand.is_empty() {
                let before = in_hand.len();
                in_hand.retain(|ended| clock.unix().as_secs() < ended.until);
                count(&metrics, "expired", before - in_hand.len());
                tokio::time::sleep(AGAIN).await;
                tell_all(socket, &mut in_hand, &metrics).await;
            }
        }
    };
    stop.run_until_cancelled(telling).await;
    let rest = async {
        in_hand.extend(next);
        in_hand.extend(iter::from_fn(|| receiver.try_recv().ok()));
        for some in in_hand.chunks(AT_ONCE) {
            tell_all(socket, &mut some.to_vec(), &metrics).await;
        }
    };
    // What is left then expires by itself.
    let _ = tokio::time::timeout(FINISH_WITHIN, rest).await;
}

/// Leaves those that the relay was not there to be told of. It writes what it is told at the same time as one.
async fn tell_all(socket: &Path, ended: &mut Vec<Ended>, metrics: &Metrics) {
    let told = join_all(ended.iter().map(|ended| tell_one(socket, ended, metrics))).await;
    let mut told = told.iter();
    ended.retain(|_| told.next().is_some_and(Result::is_err));
}

/// The relay was not there to be told.
struct Away;

async fn tell_one(socket: &Path, ended: &Ended, metrics: &Metrics) -> Result<(), Away> {
    let revoke = Revoke { target: Target::Pair(ended.pair.to_string()), until: Some(ended.until) };
    match relay_admin::post::<Revoked>(socket, REVOKE, &revoke).await {
        Ok(_) => count(metrics, "revoked", 1),
        Err(Failure::Away(error)) => {
            tracing::debug!(%error, pair = %ended.pair, "the relay could not be told that a pair has ended");
            count(metrics, "retried", 1);
            return Err(Away);
        }
        Err(Failure::Refused(status)) => {
            tracing::debug!(%status, pair = %ended.pair, "the relay refuses to end a pair");
            count(metrics, "refused", 1);
        }
    }
    Ok(())
}

fn count(metrics: &Metrics, result: &str, pairs: usize) {
    metrics.credentials_revoked.with_label_values(&["pair", result]).inc_by(pairs as u64);
}
