//! Requests of many clients at once, a window of them in flight: allocations, permissions, channels, and their end.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail};
use turnpike_turn_client::{Message, Progress, Session, TransactionId, Writer};

use crate::{
    clients::Clients,
    datagrams::{Inbox, Sender},
    poller::Poller,
};

/// Requests in flight.
const WINDOW: usize = 64;
/// When a request is sent again, and how often at most (RFC 8489 §6.2.1 has the first wait).
const AGAIN_AFTER: Duration = Duration::from_millis(500);
const TRANSMISSIONS: u32 = 10;
/// How often a request is built anew because of a challenge.
const ATTEMPTS: u32 = 3;

/// How it went.
#[derive(Debug, Clone, Copy)]
pub struct Transacted {
    /// From the first request to the last answer.
    pub took: Duration,
    /// Requests that were sent again, for no answer came.
    pub retransmissions: u64,
}

struct Pending {
    request: Vec<u8>,
    transaction: TransactionId,
    sent: Instant,
    transmissions: u32,
    attempts: u32,
}

/// Carries one request of each client out.
///
/// # Errors
/// When the server refuses one, or does not answer it.
pub fn transact(
    clients: &Clients,
    sessions: &mut [Session],
    build: impl Fn(usize, &Session) -> Writer,
) -> anyhow::Result<Transacted> {
    let mut poller = Poller::new()?;
    clients.watch(&poller)?;
    let (mut inbox, mut sender) = (Inbox::default(), Sender::default());
    let mut pending: HashMap<usize, Pending> = HashMap::new();
    let mut due: Vec<usize> = Vec::new();
    let (mut next, mut done, mut retransmissions) = (0, 0, 0);
    let began = Instant::now();
    let mut looked = began;
    while done < sessions.len() {
        while pending.len() < WINDOW && next < sessions.len() {
            pending.insert(next, Pending::new(&build(next, &sessions[next]), 1));
            due.push(next);
            next += 1;
        }
        send(clients, &mut sender, &pending, &due);
        due.clear();
        let ready: Vec<u64> = poller.wait(Duration::from_millis(20))?.collect();
        for number in ready {
            let number = number as usize;
            let filled = inbox.receive(clients.socket(number)).context("receiving answers")?;
            for slot in 0..filled {
                let Some(incoming) = inbox.get(slot) else { continue };
                let Some(client) = clients.client_at(number, incoming.to) else { continue };
                let Ok(answer) = Message::read(&*incoming.bytes) else { continue };
                let Some(asked) = pending.get_mut(&client) else { continue };
                if !answer.is_answer() || answer.transaction() != asked.transaction {
                    continue;
                }
                let session = &mut sessions[client];
                match session.answer(&answer).with_context(|| format!("client {client}"))? {
                    Progress::Done => {
                        pending.remove(&client);
                        done += 1;
                    }
                    Progress::Again if asked.attempts == ATTEMPTS => {
                        bail!("client {client}: the server challenges every request")
                    }
                    Progress::Again => {
                        *asked = Pending::new(&build(client, session), asked.attempts + 1);
                        due.push(client);
                    }
                }
            }
        }
        if looked.elapsed() > AGAIN_AFTER / 5 {
            looked = Instant::now();
            for (client, asked) in &mut pending {
                if asked.sent.elapsed() < AGAIN_AFTER {
                    continue;
                }
                if asked.transmissions == TRANSMISSIONS {
                    bail!("client {client}: no answer from {}", clients.server);
                }
                asked.sent = looked;
                asked.transmissions += 1;
                retransmissions += 1;
                due.push(*client);
            }
        }
    }
    Ok(Transacted { took: began.elapsed(), retransmissions })
}

impl Pending {
    fn new(request: &Writer, attempts: u32) -> Self {
        let transaction = request.transaction();
        let request = request.bytes().to_vec();
        Self { request, transaction, sent: Instant::now(), transmissions: 1, attempts }
    }
}

/// Sends requests by the sockets of their clients; clients that share one go together.
fn send(clients: &Clients, sender: &mut Sender, pending: &HashMap<usize, Pending>, due: &[usize]) {
    for group in due.chunk_by(|a, b| clients.socket_of(*a) == clients.socket_of(*b)) {
        let socket = clients.socket(clients.socket_of(group[0]));
        let outgoing = group.iter().map(|client| clients.outgoing(*client, &pending[client].request, None));
        // What the kernel refuses is sent again like what is lost.
        sender.send(socket, outgoing);
    }
}
