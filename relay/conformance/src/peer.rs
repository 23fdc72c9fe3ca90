use std::{
    io,
    net::{IpAddr, SocketAddr, UdpSocket},
    time::Duration,
};

use crate::{
    expect,
    finding::{Check, Finding},
};

/// How long a datagram may take.
const WITHIN: Duration = Duration::from_millis(1500);

/// A peer: a socket of the runner that the server relays to and from.
pub(crate) struct Peer {
    socket: UdpSocket,
    pub(crate) address: SocketAddr,
}

impl Peer {
    pub(crate) fn bind(ip: IpAddr) -> io::Result<Self> {
        let socket = UdpSocket::bind((ip, 0))?;
        socket.set_read_timeout(Some(WITHIN))?;
        Ok(Self { address: socket.local_addr()?, socket })
    }

    pub(crate) fn say(&self, to: SocketAddr, payload: &[u8]) -> Check {
        self.socket.send_to(payload, to)?;
        Ok(())
    }

    /// The next datagram is this one. What should not have been relayed before it is found by that.
    pub(crate) fn hears(&self, payload: &[u8]) -> Result<SocketAddr, Finding> {
        let expected = format!("the peer hears {:?} next", String::from_utf8_lossy(payload));
        let (heard, from) =
            self.next()?.ok_or_else(|| Finding::fail(expected.clone(), "it hears nothing"))?;
        let seen = format!("it hears {:?}", String::from_utf8_lossy(&heard));
        expect::that(heard == payload, expected, seen)?;
        Ok(from)
    }

    /// The next datagram and who sent it.
    pub(crate) fn next(&self) -> io::Result<Option<(Vec<u8>, SocketAddr)>> {
        let mut buffer = [0; 2048];
        match self.socket.recv_from(&mut buffer) {
            Ok((length, from)) => Ok(Some((buffer[..length].to_vec(), from))),
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// Datagrams that are there already.
    pub(crate) fn drain(&self) -> io::Result<usize> {
        self.socket.set_nonblocking(true)?;
        let mut drained = 0;
        while self.next()?.is_some() {
            drained += 1;
        }
        self.socket.set_nonblocking(false)?;
        Ok(drained)
    }
}
