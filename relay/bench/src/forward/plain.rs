//! One datagram a call.

use std::{io, time::Duration};

use super::{Forwarder, LISTENER, TURN, nothing};

pub(super) fn run(forwarder: &mut Forwarder) -> io::Result<()> {
    let mut buffer = vec![0; 65_600];
    loop {
        let ready: Vec<u64> = forwarder.poller.wait(Duration::from_secs(1))?.collect();
        for number in ready {
            match number {
                LISTENER => up(forwarder, &mut buffer)?,
                number => down(forwarder, number as usize, &mut buffer)?,
            }
        }
    }
}

fn up(forwarder: &mut Forwarder, buffer: &mut [u8]) -> io::Result<()> {
    for _ in 0..TURN {
        let (length, client) = match forwarder.listener.recv_from(buffer) {
            Ok(received) => received,
            Err(error) => return nothing(error),
        };
        let number = forwarder.client(client)?;
        if let Some(peer) = forwarder.peer_of(number) {
            // What the kernel refuses is lost, as in any relay.
            let _ = forwarder.flows[number].socket.send_to(&buffer[..length], peer);
        }
    }
    Ok(())
}

fn down(forwarder: &Forwarder, number: usize, buffer: &mut [u8]) -> io::Result<()> {
    let flow = &forwarder.flows[number];
    for _ in 0..TURN {
        let length = match flow.socket.recv(buffer) {
            Ok(length) => length,
            Err(error) => return nothing(error),
        };
        let _ = forwarder.listener.send_to(&buffer[..length], flow.client);
    }
    Ok(())
}
