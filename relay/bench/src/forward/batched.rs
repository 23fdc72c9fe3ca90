//! Many datagrams a call: one recvmmsg for each socket, one sendmmsg for each that is sent by.

use std::{io, time::Duration};

use super::{Forwarder, LISTENER};
use crate::datagrams::{Inbox, Outgoing, Sender};

pub(super) fn run(forwarder: &mut Forwarder) -> io::Result<()> {
    let mut inbox = Inbox::default();
    let mut sender = Sender::default();
    loop {
        let ready: Vec<u64> = forwarder.poller.wait(Duration::from_secs(1))?.collect();
        for number in ready {
            match number {
                LISTENER => up(forwarder, &mut inbox, &mut sender)?,
                number => down(forwarder, number as usize, &mut inbox, &mut sender)?,
            }
        }
    }
}

fn up(forwarder: &mut Forwarder, inbox: &mut Inbox, sender: &mut Sender) -> io::Result<()> {
    inbox.receive(&forwarder.listener)?;
    let mut batch: Vec<(usize, Outgoing<'_>)> = Vec::new();
    for (client, bytes, segment) in inbox.iter() {
        let number = forwarder.client(client)?;
        if let Some(to) = forwarder.peer_of(number) {
            batch.push((number, Outgoing { to, from: None, bytes, segment }));
        }
    }
    for group in batch.chunk_by(|a, b| a.0 == b.0) {
        let socket = &forwarder.flows[group[0].0].socket;
        sender.send(socket, group.iter().map(|(_, outgoing)| *outgoing));
    }
    Ok(())
}

fn down(forwarder: &Forwarder, number: usize, inbox: &mut Inbox, sender: &mut Sender) -> io::Result<()> {
    let flow = &forwarder.flows[number];
    inbox.receive(&flow.socket)?;
    let back =
        inbox.iter().map(|(_, bytes, segment)| Outgoing { to: flow.client, from: None, bytes, segment });
    sender.send(&forwarder.listener, back);
    Ok(())
}
