//! HTTPS on the port of TURN over TLS: the visitor's plain bytes go to signaling's Unix socket and back, behind a header
//! that tells whose they are. No HTTP is read here.
//!
//! A shard decides that a TLS connection is none of TURN and hands it over; from then on it belongs to a task on the
//! control runtime, and the shard's reapers do not apply.

mod ledger;
mod places;
mod session;
mod unavailable;
mod visit;

use std::{
    net::{SocketAddr, TcpStream},
    path::PathBuf,
    sync::Arc,
};

use rustls::ServerConnection;
use tokio::{sync::mpsc, task::JoinSet};

pub(crate) use self::ledger::{Ledger, Outcome};
use self::{
    places::{Place, Places},
    visit::Upstream,
};

/// Visitors that wait for their task.
const QUEUE: usize = 256;

/// A TLS connection that wants HTTP.
pub(crate) struct Visitor {
    /// Nonblocking, and watched by nobody else any more.
    pub(crate) socket: TcpStream,
    pub(crate) tls: ServerConnection,
    /// Plain bytes that were taken out of `tls` already.
    pub(crate) early: Vec<u8>,
    pub(crate) client: SocketAddr,
    pub(crate) server: SocketAddr,
}

/// How many visitors there may be.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    pub(crate) visitors: usize,
    /// Of one IPv4 address or IPv6 /64.
    pub(crate) visitors_per_source: usize,
}

impl Limits {
    /// As many as signaling takes sockets. A page takes a few connections beside its socket for a moment, so that an
    /// address gets four times its sockets.
    pub(crate) fn of(signaling: &turnpike_config::Signaling) -> Self {
        Self {
            visitors: signaling.max_sockets,
            visitors_per_source: signaling.max_sockets_per_ip.saturating_mul(4),
        }
    }
}

/// Takes visitors from shards.
#[derive(Clone)]
pub(crate) struct FrontDoor {
    queue: mpsc::Sender<Admitted>,
    places: Arc<Places>,
    ledger: Arc<Ledger>,
}

/// A visitor and its place, which is free again when dropped.
struct Admitted {
    visitor: Visitor,
    place: Place,
}

impl FrontDoor {
    /// A door to signaling's internal socket; [`Reception::serve`] opens it.
    pub(crate) fn new(socket: PathBuf, limits: Limits) -> (Self, Reception) {
        let (queue, visitors) = mpsc::channel(QUEUE);
        let ledger = Arc::new(Ledger::default());
        let places = Arc::new(Places::new(limits));
        let upstream = Arc::new(Upstream::new(socket, Arc::clone(&ledger)));
        (Self { queue, places, ledger }, Reception { visitors, upstream })
    }

    /// Takes a visitor in without waiting. One that finds no place is counted and given back.
    #[allow(clippy::result_large_err, reason = "the listeners of TLS connections give what they own")]
    pub(crate) fn try_admit(&self, visitor: Visitor) -> Result<(), Visitor> {
        let refused = |outcome, visitor| {
            self.ledger.ended(outcome);
            Err(visitor)
        };
        let place = match self.places.take(visitor.client.ip()) {
            Ok(place) => place,
            Err(outcome) => return refused(outcome, visitor),
        };
        match self.queue.try_send(Admitted { visitor, place }) {
            Ok(()) => Ok(()),
            Err(error) => refused(Outcome::QueueFull, error.into_inner().visitor),
        }
    }

    /// Visitors that are inside.
    pub(crate) fn visitors(&self) -> usize {
        self.places.taken()
    }

    pub(crate) fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// Waits until nobody is inside.
    pub(crate) async fn until_empty(&self) {
        self.places.until_empty().await;
    }
}

/// The other side of the door: a task for each visitor.
pub(crate) struct Reception {
    visitors: mpsc::Receiver<Admitted>,
    upstream: Arc<Upstream>,
}

impl Reception {
    /// Serves visitors until every [`FrontDoor`] is gone. Dropped, it ends them all.
    pub(crate) async fn serve(mut self) {
        let mut visits = JoinSet::new();
        loop {
            tokio::select! {
                admitted = self.visitors.recv() => {
                    let Some(Admitted { visitor, place }) = admitted else { break };
                    let upstream = Arc::clone(&self.upstream);
                    visits.spawn(async move {
                        upstream.attend(visitor).await;
                        drop(place);
                    });
                }
                Some(ended) = visits.join_next() => {
                    if let Err(error) = ended {
                        tracing::error!(code = "visit_failed", %error, "a task of the HTTPS door has ended by a bug");
                    }
                }
            }
        }
        while visits.join_next().await.is_some() {}
    }
}

#[cfg(test)]
mod tests;
