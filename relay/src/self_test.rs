//! The node tries itself: an allocation over each transport, and a datagram through it and back.
//!
//! It goes the whole way of a client: a listener, TLS, credentials, a relay port, permission, channel, data either way.
//! The peer is the relayed address itself, so that nothing leaves the machine. What it makes is counted as requests and as
//! bytes of no allocation, and stands in no list, ledger or bill.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::{
        Mutex, PoisonError,
        mpsc::{Receiver, RecvTimeoutError},
    },
    time::Duration,
};

use turnpike_config::Config;
use turnpike_proto::{Label as _, Transport};
use turnpike_turn_client::{
    AllocateOptions, Allocation, Connection, Credentials, Endpoint, Error, Retransmission, TlsClient,
    Transport as ClientTransport,
};

use crate::{clock::Clock, logins::OwnLogin};

/// How long an answer and a datagram are waited for.
const ANSWERED_WITHIN: Duration = Duration::from_secs(5);
/// Over UDP a loaded machine may lose one.
const UDP: Retransmission = Retransmission { first: Duration::from_millis(500), transmissions: 3, last: 4 };
const STREAM: Retransmission = Retransmission { first: ANSWERED_WITHIN, transmissions: 1, last: 1 };
const DATAGRAMS: usize = 3;
const PAYLOAD: &[u8] = b"turnpike tries itself; all is well";
const FORBIDDEN: u16 = 403;

/// What came of the last try over one transport.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Tried {
    /// It went through, and took so long from the client to the relayed address and back.
    Through(Duration),
    /// It did not.
    Failed,
}

/// The node's own client.
pub(crate) struct SelfTest {
    pub(crate) login: OwnLogin,
    every: Duration,
    ways: Vec<(Transport, SocketAddr)>,
    domain: String,
    ipv6: bool,
    clock: Clock,
    /// In the order of [`Transport::ALL`]; absent where nobody listens, and before the first try.
    tried: Mutex<[Option<Tried>; 3]>,
}

/// Why a try failed.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error(transparent)]
    Client(#[from] Error),
    #[error("what was sent to the relayed address did not come back")]
    Silence,
}

impl SelfTest {
    /// Of the listeners of each transport, one of IPv4 where there is one.
    pub(crate) fn new(
        config: &Config,
        every: Duration,
        login: OwnLogin,
        [udp, tcp, tls]: [&[SocketAddr]; 3],
        clock: Clock,
    ) -> Self {
        let ways = [(Transport::Udp, udp), (Transport::Tcp, tcp), (Transport::Tls, tls)];
        let first = |(transport, addresses): (Transport, &[SocketAddr])| {
            let address = addresses.iter().find(|address| address.is_ipv4()).or(addresses.first())?;
            Some((transport, reachable(*address)))
        };
        Self {
            login,
            every,
            ways: ways.into_iter().filter_map(first).collect(),
            domain: config.node.domain.clone().unwrap_or_else(|| "localhost".to_owned()),
            ipv6: config.relay.relay_ipv4.is_none(),
            clock,
            tried: Mutex::default(),
        }
    }

    /// What came of the last tries.
    pub(crate) fn tried(&self) -> Vec<(Transport, Tried)> {
        let tried = *self.tried.lock().unwrap_or_else(PoisonError::into_inner);
        Transport::ALL.iter().zip(tried).filter_map(|(transport, tried)| Some((*transport, tried?))).collect()
    }

    /// Tries every way now and then, until the other end of `end` is gone. A node that drains refuses on purpose, and is
    /// not tried.
    pub(crate) fn run(&self, is_draining: impl Fn() -> bool, end: &Receiver<()>) {
        loop {
            for (transport, server) in &self.ways {
                if !is_draining() {
                    let tried = self.try_way(*transport, *server);
                    // It may have begun to drain meanwhile.
                    if tried.is_ok() || !is_draining() {
                        self.note(*transport, *server, tried);
                    }
                }
            }
            if end.recv_timeout(self.every) != Err(RecvTimeoutError::Timeout) {
                return;
            }
        }
    }

    fn note(&self, transport: Transport, server: SocketAddr, tried: Result<Duration, Failure>) {
        let mut all = self.tried.lock().unwrap_or_else(PoisonError::into_inner);
        let place = &mut all[transport.index()];
        let failed_before = matches!(place, Some(Tried::Failed));
        match tried {
            Ok(took) => {
                *place = Some(Tried::Through(took));
                if failed_before {
                    tracing::info!(transport = transport.name(), "the relay reaches itself again");
                }
            }
            Err(error) => {
                *place = Some(Tried::Failed);
                if !failed_before {
                    tracing::warn!(
                        code = "selftest_failed",
                        transport = transport.name(),
                        %server,
                        %error,
                        "the relay does not reach itself as a client does, so its clients may not either: `turnpike doctor` \
                         looks for the reason; 508 is a full node, relay ports that are taken or relay.relay_ipv4 that \
                         this machine no longer has"
                    );
                }
            }
        }
    }

    fn try_way(&self, transport: Transport, server: SocketAddr) -> Result<Duration, Failure> {
        let tls = match transport {
            // The certificate's expiry is watched by itself.
            Transport::Tls => Some(TlsClient::unverified(&self.domain)?),
            Transport::Udp | Transport::Tcp => None,
        };
        let (transport, retransmission) = match transport {
            Transport::Udp => (ClientTransport::Udp, UDP),
            Transport::Tcp => (ClientTransport::Tcp, STREAM),
            Transport::Tls => (ClientTransport::Tls, STREAM),
        };
        let mut connection = Connection::open(&Endpoint { server, transport, tls, bind: None })?;
        connection.set_retransmission(retransmission);
        let credentials = Credentials::new(&*self.login.name, self.login.password.as_str());
        let options = AllocateOptions { ipv6: self.ipv6, ..AllocateOptions::default() };
        let mut allocation = Allocation::open(connection, credentials, None, &options)?;
        let through = self.round_trip(&mut allocation);
        let closed = allocation.close();
        through.and_then(|took| closed.map(|()| took).map_err(Failure::from))
    }

    fn round_trip(&self, allocation: &mut Allocation) -> Result<Duration, Failure> {
        let itself = allocation.relayed();
        match allocation.bind(itself) {
            Ok(_) => {}
            // The operator has closed the relayed address to clients: an answer is all there is.
            Err(Error::Refused { code: FORBIDDEN }) => {
                let asked = self.clock.uptime();
                allocation.refresh(None)?;
                return Ok(self.clock.uptime() - asked);
            }
            Err(error) => return Err(error.into()),
        }
        for _ in 0..DATAGRAMS {
            let sent = self.clock.uptime();
            allocation.send(itself, PAYLOAD)?;
            let came = allocation.receive(ANSWERED_WITHIN / DATAGRAMS as u32)?;
            if came.is_some_and(|came| came.payload == PAYLOAD) {
                return Ok(self.clock.uptime() - sent);
            }
        }
        Err(Failure::Silence)
    }
}

/// Any address of this machine stands for its loopback.
fn reachable(listener: SocketAddr) -> SocketAddr {
    let ip = match listener.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, listener.port())
}
