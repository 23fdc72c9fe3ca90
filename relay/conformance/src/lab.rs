//! What a rule's test works with: clients of the server under test, and peers.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket},
    sync::atomic::{AtomicU32, Ordering},
    time::{SystemTime, UNIX_EPOCH},
};

use turnpike_turn_client::{Credentials, Endpoint, TlsClient, Transport};

use crate::{
    client::Client,
    finding::{Check, Finding},
    peer::Peer,
    target::Target,
};

/// Life of the credentials that tests use, in seconds.
const CREDENTIAL_LIFE: u64 = 7200;

/// One rule's test bench. Each has subjects of its own, and on loopback client addresses of its own, so that a
/// server's limits by user and by source do not meet one rule because of another.
pub(crate) struct Lab<'a> {
    pub(crate) target: &'a Target,
    rule: u8,
    serial: AtomicU32,
}

impl<'a> Lab<'a> {
    pub(crate) fn new(target: &'a Target, rule: u8) -> Self {
        Self { target, rule, serial: AtomicU32::new(0) }
    }

    /// A client that has said nothing yet.
    pub(crate) fn client(&self) -> Result<Client, Finding> {
        self.client_at(self.target.server, self.target.transport, 1)
    }

    /// A client on another address of this machine.
    pub(crate) fn client_elsewhere(&self) -> Result<Client, Finding> {
        if self.source(2).is_none() {
            return Err(Finding::not_applicable(
                "needs two client addresses: run it beside the server on 127.0.0.1",
            ));
        }
        self.client_at(self.target.server, self.target.transport, 2)
    }

    /// A client over a stream: TCP in a run over UDP.
    pub(crate) fn stream_client(&self) -> Result<Client, Finding> {
        match self.target.transport {
            Transport::Udp => {
                self.client_at(self.target.tcp.unwrap_or(self.target.server), Transport::Tcp, 1)
            }
            stream => self.client_at(self.target.server, stream, 1),
        }
    }

    /// A client over UDP on IPv6.
    pub(crate) fn ipv6_client(&self) -> Result<Client, Finding> {
        let server = match (self.target.ipv6, self.target.server) {
            (Some(server), _) => server,
            (None, server) if server.is_ipv6() && self.target.transport == Transport::Udp => server,
            _ => return Err(Finding::not_applicable("needs a listener on IPv6: --ipv6 [ADDR]:PORT")),
        };
        self.client_at(server, Transport::Udp, 1)
    }

    /// A client with an allocation.
    pub(crate) fn allocated(&self) -> Result<Client, Finding> {
        let mut client = self.client()?;
        client.allocate()?;
        Ok(client)
    }

    /// A client with an allocation and a permission for this peer.
    pub(crate) fn permitted(&self, peer: &Peer) -> Result<Client, Finding> {
        let mut client = self.allocated()?;
        client.permit(&[peer.address])?;
        Ok(client)
    }

    /// A peer on the first peer address.
    pub(crate) fn peer(&self) -> Result<Peer, Finding> {
        Ok(Peer::bind(self.peer_ip(0)?)?)
    }

    /// A peer on the second peer address.
    pub(crate) fn peer_elsewhere(&self) -> Result<Peer, Finding> {
        Ok(Peer::bind(self.peer_ip(1)?)?)
    }

    /// Peer addresses by number, from 0.
    pub(crate) fn peer_ip(&self, number: u8) -> Result<IpAddr, Finding> {
        if let Some(address) = self.target.peer.get(usize::from(number)) {
            return Ok(*address);
        }
        let server = self.target.server;
        if self.target.peer.is_empty() && is_loopback_v4(server) {
            return Ok(Ipv4Addr::new(127, 0, 0, 2 + number).into());
        }
        if self.target.peer.is_empty() && number == 0 && server.is_ipv4() {
            let socket = UdpSocket::bind("0.0.0.0:0")?;
            socket.connect(server)?;
            return Ok(socket.local_addr()?.ip());
        }
        Err(Finding::not_applicable(format!("needs {} IPv4 addresses for peers: --peer IP,IP", number + 1)))
    }

    /// A new user's credentials.
    pub(crate) fn credentials(&self) -> Credentials {
        self.credentials_until(unix_now() + CREDENTIAL_LIFE)
    }

    /// A new user's credentials with this expiry, in Unix seconds.
    pub(crate) fn credentials_until(&self, expires_at: u64) -> Credentials {
        let serial = self.serial.fetch_add(1, Ordering::Relaxed);
        let subject = format!("rule{}-{serial}-{}", self.rule, std::process::id());
        Credentials::mint(self.target.secret.as_bytes(), expires_at, &subject)
    }

    /// Ends a test that is about datagrams.
    pub(crate) fn only_over_udp(&self, why: &str) -> Check {
        match self.target.transport.is_stream() {
            true => Err(Finding::not_applicable(why)),
            false => Ok(()),
        }
    }

    /// The address that clients of this rule are bound to: 127.1.RULE.HOST with a server on loopback.
    pub(crate) fn source(&self, host: u8) -> Option<IpAddr> {
        is_loopback_v4(self.target.server).then(|| Ipv4Addr::new(127, 1, self.rule, host).into())
    }

    fn client_at(&self, server: SocketAddr, transport: Transport, host: u8) -> Result<Client, Finding> {
        let tls = match transport {
            Transport::Tls => Some(
                TlsClient::unverified(&self.target.tls_name)
                    .map_err(|error| Finding::not_applicable(format!("{error}: give another --tls-name")))?,
            ),
            Transport::Udp | Transport::Tcp => None,
        };
        let source = self.source(host).filter(|_| is_loopback_v4(server));
        let bind = source.map(|ip| SocketAddr::new(ip, 0));
        Client::open(&Endpoint { server, transport, tls, bind }, self.credentials())
    }
}

/// Seconds since 1970.
pub(crate) fn unix_now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

fn is_loopback_v4(address: SocketAddr) -> bool {
    address.is_ipv4() && address.ip().is_loopback()
}
