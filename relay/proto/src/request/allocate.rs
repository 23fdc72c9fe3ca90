//! Allocate (RFC 8656 §7.2).

use std::net::SocketAddr;

use crate::{
    ByFamily, ErrorCode, Family, FiveTuple, Now, PortRequest, Server, Transport,
    auth::User,
    policy,
    wire::{Method, Request, Response},
};

/// IANA's protocol number of UDP.
const UDP: u8 = 17;

/// What an Allocate asks for.
pub(crate) struct Wanted {
    pub(crate) port: PortRequest,
    pub(crate) families: ByFamily<bool>,
    /// The family that is asked for besides and not served.
    pub(crate) refused: Option<(Family, ErrorCode)>,
}

impl Server {
    /// `Ok(None)` when the answer waits for the relay socket.
    pub(super) fn allocate(
        &mut self,
        now: Now,
        five_tuple: &FiveTuple,
        index: Option<u32>,
        request: &Request<'_>,
        user: User,
    ) -> Result<Option<Response>, ErrorCode> {
        if let Some(index) = index {
            let same = self.at(index).transaction_id == request.transaction_id
                && self.at(index).user.username == user.username;
            return match same {
                true => Ok(Some(self.allocate_answer(index))),
                false => Err(ErrorCode::AllocationMismatch),
            };
        }
        match request.requested_transport() {
            Ok(Some(UDP)) => {}
            Ok(Some(_)) => return Err(ErrorCode::UnsupportedTransport),
            Ok(None) | Err(_) => return Err(ErrorCode::BadRequest),
        }
        let wanted = wanted(request, &self.config.families)?;
        let asked = request.lifetime().map_err(|_| ErrorCode::BadRequest)?;
        if policy::is_tunnel(five_tuple.client.ip()) {
            return Err(ErrorCode::Forbidden);
        }
        if self.draining {
            return Err(match self.alternate(five_tuple) {
                Some(_) => ErrorCode::TryAlternate,
                None => ErrorCode::InsufficientCapacity,
            });
        }
        let lifetime = self.lifetime(asked);
        self.open(now, *five_tuple, user, request.transaction_id, lifetime, wanted);
        Ok(None)
    }

    /// Where a client may go instead (RFC 8489 §10): to an address of its own family, and over the same transport. TLS
    /// is left out, since the certificate there has another name.
    pub(super) fn alternate(&self, five_tuple: &FiveTuple) -> Option<SocketAddr> {
        let same_family = |alternate: &SocketAddr| alternate.is_ipv4() == five_tuple.client.is_ipv4();
        self.config.drain_alternate.filter(same_family).filter(|_| five_tuple.transport != Transport::Tls)
    }

    /// The signed success of an allocation whose relay socket is bound.
    pub(crate) fn allocate_success(&mut self, index: u32) -> Vec<u8> {
        let answer = self.allocate_answer(index);
        self.at(index).user.sign(answer)
    }

    fn allocate_answer(&mut self, index: u32) -> Response {
        let software = self.config.software.clone();
        let allocation = self.at(index);
        let start = Response::success(Method::Allocate, allocation.transaction_id);
        let addresses = allocation.relayed();
        let relayed = addresses.iter().filter_map(|(_, address)| *address);
        relayed
            .fold(start, Response::relayed)
            .address_error(allocation.refused)
            .lifetime(allocation.granted)
            .mapped(allocation.five_tuple.client)
            .reservation(allocation.reservation)
            .software(software.as_deref())
    }
}

/// EVEN-PORT and RESERVATION-TOKEN, which exclude each other, and the address families, which a token excludes.
fn wanted(request: &Request<'_>, served: &ByFamily<bool>) -> Result<Wanted, ErrorCode> {
    let even = request.even_port().map_err(|_| ErrorCode::BadRequest)?;
    let token = request.reservation_token().map_err(|_| ErrorCode::BadRequest)?;
    let requested = request.requested_family().map_err(|_| ErrorCode::BadRequest)?;
    let additional = request.additional_family().map_err(|_| ErrorCode::BadRequest)?;
    let families = requested.is_some() || additional.is_some();
    let port = match (token, even) {
        (Some(_), Some(_)) => return Err(ErrorCode::BadRequest),
        (Some(_), None) if families => return Err(ErrorCode::BadRequest),
        (Some(token), None) => {
            let port = PortRequest::Reserved(token);
            return Ok(Wanted { port, families: ByFamily::default(), refused: None });
        }
        (None, Some(true)) if additional.is_some() => return Err(ErrorCode::BadRequest),
        (None, Some(true)) => PortRequest::EvenAndReserveNext,
        (None, Some(false)) => PortRequest::Even,
        (None, None) => PortRequest::Any,
    };
    match additional.map(Family::of_number) {
        None => {
            let asked = requested.map_or(Some(Family::Ipv4), Family::of_number);
            let family = asked.filter(|family| served[*family]);
            let family = family.ok_or(ErrorCode::AddressFamilyNotSupported)?;
            Ok(Wanted { port, families: ByFamily::from_fn(|f| f == family), refused: None })
        }
        // IPv4 is asked for by not asking, so that IPv6 is all that can be asked for besides.
        Some(Some(Family::Ipv6)) if requested.is_none() => {
            let missing = Family::ALL.into_iter().find(|family| !served[*family]);
            let refused = missing.map(|family| (family, ErrorCode::AddressFamilyNotSupported));
            Ok(Wanted { port, families: *served, refused })
        }
        Some(_) => Err(ErrorCode::BadRequest),
    }
}
