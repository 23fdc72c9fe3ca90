//! Allocate (RFC 8656 §7.2).

use crate::{
    ErrorCode, FiveTuple, Now, PortRequest, Server,
    auth::User,
    wire::{Method, Request, Response},
};

/// IANA's protocol number of UDP.
const UDP: u8 = 17;
/// REQUESTED-ADDRESS-FAMILY's IPv4 (RFC 8656 §18.6).
const IPV4: u8 = 1;

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
        let port = port_request(request)?;
        match request.requested_family() {
            Some(_) if request.asks_for_second_family() => return Err(ErrorCode::BadRequest),
            None | Some(Some(IPV4)) => {}
            Some(_) => return Err(ErrorCode::AddressFamilyNotSupported),
        }
        let asked = request.lifetime().map_err(|_| ErrorCode::BadRequest)?;
        if self.draining {
            return Err(ErrorCode::InsufficientCapacity);
        }
        let lifetime = self.lifetime(asked);
        self.open(now, *five_tuple, user, request.transaction_id, lifetime, port);
        Ok(None)
    }

    /// The signed success of an allocation whose relay socket is bound.
    pub(crate) fn allocate_success(&mut self, index: u32) -> Vec<u8> {
        let answer = self.allocate_answer(index);
        self.at(index).user.sign(answer)
    }

    fn allocate_answer(&mut self, index: u32) -> Response {
        let software = self.config.software.clone();
        let allocation = self.at(index);
        Response::success(Method::Allocate, allocation.transaction_id)
            .relayed(allocation.relayed)
            .lifetime(allocation.granted)
            .mapped(allocation.five_tuple.client)
            .reservation(allocation.reservation)
            .software(software.as_deref())
    }
}

/// EVEN-PORT and RESERVATION-TOKEN, which exclude each other and the address families.
fn port_request(request: &Request<'_>) -> Result<PortRequest, ErrorCode> {
    let even = request.even_port().map_err(|_| ErrorCode::BadRequest)?;
    let token = request.reservation_token().map_err(|_| ErrorCode::BadRequest)?;
    let families = request.requested_family().is_some() || request.asks_for_second_family();
    match (token, even) {
        (Some(_), Some(_)) => Err(ErrorCode::BadRequest),
        (Some(_), None) if families => Err(ErrorCode::BadRequest),
        (Some(token), None) => Ok(PortRequest::Reserved(token)),
        (None, Some(true)) if request.asks_for_second_family() => Err(ErrorCode::BadRequest),
        (None, Some(true)) => Ok(PortRequest::EvenAndReserveNext),
        (None, Some(false)) => Ok(PortRequest::Even),
        (None, None) => Ok(PortRequest::Any),
    }
}
