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
    net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket},
    sync::Arc,
    time::Duration,
};

use turnpike_proto::{PortRequest, RelayRefused, RelayRequest};

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
    /// Where relay sockets are bound.
    pub(crate) bound: Ipv4Addr,
    /// What peers see.
    pub(crate) advertised: Ipv4Addr,
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

/// State that all shards share.
pub(crate) struct Shared {
    pub(crate) limits: Limits,
    pub(crate) table: PortTable,
    pub(crate) shares: SharesTable,
    admission: Arc<Admission>,
    ports: Arc<PortPool>,
    reservations: Reservations,
    sources: Arc<Sources>,
    /// That there are no files for connections.
    pub(crate) files_told: Rarely,
}

/// An admitted allocation's relay socket. Dropping it closes the socket, then frees the port, then the places.
#[derive(Debug)]
pub(crate) struct RelaySocket {
    port: BoundPort,
    /// The address that peers see.
    pub(crate) advertised: SocketAddr,
    /// The token of the port held beside it.
    pub(crate) reservation: Option<[u8; 8]>,
    _subject: SubjectPermit,
    _node: NodePermit,
}

impl RelaySocket {
    pub(crate) fn socket(&self) -> &UdpSocket {
        &self.port.socket
    }
}

impl Shared {
    pub(crate) fn new(limits: Limits) -> Self {
        Self {
            limits,
            table: PortTable::new(limits.advertised, limits.bound),
            shares: SharesTable::new(limits.bitrate_per_subject),
            admission: Arc::new(Admission::new(
                limits.allocations,
                limits.allocations_per_subject,
                limits.allocations_per_ip,
            )),
            ports: Arc::new(PortPool::new(limits.bound, limits.ports)),
            reservations: Reservations::default(),
            sources: Arc::new(Sources::default()),
            files_told: Rarely::default(),
        }
    }

    /// Admits an allocation and binds its relay socket.
    ///
    /// # Errors
    /// What the Allocate is refused for.
    pub(crate) fn open(&self, request: &RelayRequest, now: Duration) -> Result<RelaySocket, RelayRefused> {
        if let PortRequest::Reserved(token) = request.port {
            return self.redeem(request, token, now);
        }
        let subject = self.enter_subject(request)?;
        let node = self.admission.enter_node().ok_or(RelayRefused::NodeFull)?;
        match request.port {
            PortRequest::Even => {
                Ok(self.relay(self.ports.bind_even(now).map_err(refused)?, None, subject, node))
            }
            PortRequest::EvenAndReserveNext => {
                // A held port counts against its subject as an allocation does: else one user could hold them all.
                let held_for = self.enter_subject(request)?;
                let (even, odd) = self.ports.bind_pair(now).map_err(refused)?;
                let held = Reserved { port: odd, subject: held_for, expires: now + HOLD };
                let token = self.reservations.hold(held).ok_or(RelayRefused::Socket)?;
                Ok(self.relay(even, Some(token), subject, node))
            }
            PortRequest::Any | PortRequest::Reserved(_) => {
                Ok(self.relay(self.ports.bind_any(now).map_err(refused)?, None, subject, node))
            }
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

    /// Relay ports that are bound, held ones included.
    pub(crate) fn ports_in_use(&self) -> usize {
        self.ports.in_use()
    }

    /// Ports of the range.
    pub(crate) fn ports_limit(&self) -> usize {
        self.ports.size()
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
    ) -> Result<RelaySocket, RelayRefused> {
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
            return Ok(self.relay(port, None, held_for, node));
        }
        match self.enter_subject(request) {
            Ok(subject) => Ok(self.relay(port, None, subject, node)),
            Err(why) => {
                put_back(port, held_for);
                Err(why)
            }
        }
    }

    fn enter_subject(&self, request: &RelayRequest) -> Result<SubjectPermit, RelayRefused> {
        self.admission.enter_subject(request)
    }

    fn relay(
        &self,
        port: BoundPort,
        reservation: Option<[u8; 8]>,
        subject: SubjectPermit,
        node: NodePermit,
    ) -> RelaySocket {
        let advertised = SocketAddr::new(IpAddr::V4(self.limits.advertised), port.number());
        RelaySocket { port, advertised, reservation, _subject: subject, _node: node }
    }
}

fn refused(error: BindError) -> RelayRefused {
    match error {
        BindError::NoPort => RelayRefused::NoPort,
        BindError::Socket(error) => {
            tracing::warn!(
                %error,
                "no relay socket could be opened; `ulimit -n` and the log of the kernel tell why"
            );
            RelayRefused::Socket
        }
    }
}

#[cfg(test)]
mod tests;
