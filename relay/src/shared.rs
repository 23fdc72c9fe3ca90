//! What is process-wide: who is admitted, which relay ports are free, what is reserved, and which allocation has which
//! port. Touched on the control path; the data path only reads the port table.

mod admission;
mod ports;
mod rarely;
mod reservations;
mod shares;
mod sources;
mod table;

use std::{
    net::{IpAddr, SocketAddr, UdpSocket},
    sync::Arc,
    time::Duration,
};

use turnpike_config::RelayAddress;
use turnpike_proto::{ByFamily, Family, PortRequest, RelayRefused, RelayRequest};

use self::{
    admission::{Admission, NodePermit, SubjectPermit},
    ports::{BindError, BoundPort, PortPool},
    rarely::Rarely,
    reservations::{Reservations, Reserved},
    shares::SharesTable,
    sources::Sources,
};
pub(crate) use self::{
    sources::SourcePermit,
    table::{MAX_SHARDS, Place, PortTable},
};

/// How long the port beside an even one is held (RFC 8656 §7.2).
const HOLD: Duration = Duration::from_secs(30);

/// The limits and addresses that relay sockets are opened under.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// Where relayed addresses are; none are given of a family that is absent.
    pub(crate) relayed: ByFamily<Option<RelayAddress>>,
    /// First and last port, both included.
    pub(crate) ports: (u16, u16),
    pub(crate) allocations: usize,
    /// 0 is no limit.
    pub(crate) allocations_per_subject: usize,
    /// By IPv4 address or IPv6 /64 of the client; 0 is no limit.
    pub(crate) allocations_per_ip: usize,
    /// Bits a second of one subject; 0 is no limit.
    pub(crate) bitrate_per_subject: u64,
}

/// How many ports of a family there are.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PortCount {
    pub(crate) in_use: usize,
    pub(crate) limit: usize,
}

/// State that all shards share.
pub(crate) struct Shared {
    pub(crate) limits: Limits,
    pub(crate) table: PortTable,
    pub(crate) shares: SharesTable,
    admission: Arc<Admission>,
    ports: ByFamily<Option<Arc<PortPool>>>,
    reservations: Reservations,
    sources: Arc<Sources>,
    /// That there are no files for connections.
    pub(crate) files_told: Rarely,
    /// That there are no more relay sockets.
    sockets_told: Rarely,
}

/// An admitted allocation's relay sockets, one or one of each family. Dropping it closes the sockets, then frees the
/// ports, then the places.
#[derive(Debug)]
pub(crate) struct RelaySockets {
    ports: ByFamily<Option<BoundPort>>,
    /// The addresses that peers see.
    pub(crate) advertised: ByFamily<Option<SocketAddr>>,
    /// The token of the port held beside it.
    pub(crate) reservation: Option<[u8; 8]>,
    _subject: SubjectPermit,
    _node: NodePermit,
}

impl RelaySockets {
    pub(crate) fn socket(&self, family: Family) -> Option<&UdpSocket> {
        self.ports[family].as_ref().map(|port| &port.socket)
    }

    /// Closes one of two sockets, whose port is then free.
    pub(crate) fn close(&mut self, family: Family) {
        self.ports[family] = None;
    }
}

impl Shared {
    pub(crate) fn new(limits: Limits) -> Self {
        Self {
            limits,
            table: PortTable::new(&limits.relayed),
            shares: SharesTable::new(limits.bitrate_per_subject),
            admission: Arc::new(Admission::new(
                limits.allocations,
                limits.allocations_per_subject,
                limits.allocations_per_ip,
            )),
            ports: ByFamily::from_fn(|family| {
                limits.relayed[family].map(|relay| Arc::new(PortPool::new(relay.bound, limits.ports)))
            }),
            reservations: Reservations::default(),
            sources: Arc::new(Sources::default()),
            files_told: Rarely::default(),
            sockets_told: Rarely::default(),
        }
    }

    /// Admits an allocation and binds its relay sockets. Two of them are one allocation; where one of two cannot be
    /// bound, the other is given.
    ///
    /// # Errors
    /// What the Allocate is refused for.
    pub(crate) fn open(&self, request: &RelayRequest, now: Duration) -> Result<RelaySockets, RelayRefused> {
        if let PortRequest::Reserved(token) = request.port {
            return self.redeem(request, token, now);
        }
        let subject = self.enter_subject(request)?;
        let node = self.admission.enter_node().ok_or(RelayRefused::NodeFull)?;
        let mut ports = ByFamily::default();
        let mut reservation = None;
        let mut refused = RelayRefused::NoPort;
        for family in Family::ALL.into_iter().filter(|family| request.families[*family]) {
            match self.bind(family, request, now) {
                Ok((port, token)) => {
                    ports[family] = Some(port);
                    reservation = reservation.or(token);
                }
                Err(why) => refused = why,
            }
        }
        let is_bound = ports.iter().any(|(_, port)| port.is_some());
        is_bound.then(|| self.relay(ports, reservation, subject, node)).ok_or(refused)
    }

    /// Binds a port of one family, and holds the next one where that is asked for.
    fn bind(
        &self,
        family: Family,
        request: &RelayRequest,
        now: Duration,
    ) -> Result<(BoundPort, Option<[u8; 8]>), RelayRefused> {
        let pool = self.ports[family].as_ref().ok_or(RelayRefused::NoPort)?;
        let refused = |error| self.refused(error, now);
        match request.port {
            PortRequest::Even => Ok((pool.bind_even(now).map_err(refused)?, None)),
            PortRequest::EvenAndReserveNext => {
                // A held port counts against its subject as an allocation does: else one user could hold them all.
                let held_for = self.enter_subject(request)?;
                let (even, odd) = pool.bind_pair(now).map_err(refused)?;
                let held = Reserved { port: odd, subject: held_for, expires: now + HOLD };
                let token = self.reservations.hold(held).ok_or(RelayRefused::Socket)?;
                Ok((even, Some(token)))
            }
            PortRequest::Any | PortRequest::Reserved(_) => Ok((pool.bind_any(now).map_err(refused)?, None)),
        }
    }

    /// A place for a connection without an allocation; `None` when its source has as many as it may.
    pub(crate) fn enter_source(&self, client: IpAddr) -> Option<SourcePermit> {
        self.sources.enter(client)
    }

    /// Frees what was reserved and not redeemed.
    pub(crate) fn sweep(&self, now: Duration) {
        self.reservations.sweep(now);
    }

    /// Live allocations.
    pub(crate) fn allocations(&self) -> usize {
        self.admission.allocations()
    }

    /// Relay ports that are bound, held ones included, and those of the range; none of a family that is not relayed.
    pub(crate) fn ports(&self) -> ByFamily<PortCount> {
        ByFamily::from_fn(|family| {
            let count = |pool: &Arc<PortPool>| PortCount { in_use: pool.in_use(), limit: pool.size() };
            self.ports[family].as_ref().map(count).unwrap_or_default()
        })
    }

    /// Waits until there is no allocation.
    pub(crate) async fn until_idle(&self) {
        self.admission.until_idle().await;
    }

    /// RFC 8656 §7.2: whoever brings the token gets the port; it was bound all the time.
    fn redeem(
        &self,
        request: &RelayRequest,
        token: [u8; 8],
        now: Duration,
    ) -> Result<RelaySockets, RelayRefused> {
        let reserved = self.reservations.take(token, now).ok_or(RelayRefused::UnknownReservation)?;
        let Reserved { port, subject: held_for, expires } = reserved;
        let put_back = |port, held_for| {
            self.reservations.put_back(token, Reserved { port, subject: held_for, expires });
        };
        let Some(node) = self.admission.enter_node() else {
            put_back(port, held_for);
            return Err(RelayRefused::NodeFull);
        };
        if held_for.is_of(request) {
            return Ok(self.relay(alone(port), None, held_for, node));
        }
        match self.enter_subject(request) {
            Ok(subject) => Ok(self.relay(alone(port), None, subject, node)),
            Err(why) => {
                put_back(port, held_for);
                Err(why)
            }
        }
    }

    fn refused(&self, error: BindError, now: Duration) -> RelayRefused {
        match error {
            BindError::NoPort => RelayRefused::NoPort,
            BindError::Socket(error) => {
                if self.sockets_told.is_due(now) {
                    tracing::warn!(
                        code = "no_relay_socket",
                        %error,
                        "a relay socket could not be opened, and its client was refused; `ulimit -n` and the log of \
                         the kernel tell why"
                    );
                }
                RelayRefused::Socket
            }
        }
    }

    fn enter_subject(&self, request: &RelayRequest) -> Result<SubjectPermit, RelayRefused> {
        self.admission.enter_subject(request)
    }

    fn relay(
        &self,
        ports: ByFamily<Option<BoundPort>>,
        reservation: Option<[u8; 8]>,
        subject: SubjectPermit,
        node: NodePermit,
    ) -> RelaySockets {
        let advertised = ByFamily::from_fn(|family| {
            let address = self.limits.relayed[family]?.advertised;
            Some(SocketAddr::new(address, ports[family].as_ref()?.number()))
        });
        RelaySockets { ports, advertised, reservation, _subject: subject, _node: node }
    }
}

fn alone(port: BoundPort) -> ByFamily<Option<BoundPort>> {
    let mut ports = ByFamily::default();
    let family = port.family();
    ports[family] = Some(port);
    ports
}

#[cfg(test)]
mod tests;
