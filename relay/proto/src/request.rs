//! Requests of the control plane: who may, then what is asked for. One method a file.

pub(crate) mod allocate;
mod channel_bind;
mod create_permission;
mod refresh;

use std::time::Duration;

use crate::{
    AuthFailure, ClientVerdict, DropReason, ErrorCode, FiveTuple, Now, RequestResult, Server,
    allocation::State,
    auth::{Refusal, User},
    sources::Unproven,
    wire::{Message, Method, Request, Response},
};

/// RFC 8656 §7.2: no allocation is given less.
const MIN_LIFETIME: Duration = Duration::from_secs(600);

/// A signed answer, or an error code that becomes one.
type Answer = Result<Response, ErrorCode>;

impl Server {
    pub(crate) fn handle_request(
        &mut self,
        now: Now,
        five_tuple: &FiveTuple,
        index: Option<u32>,
        message: &Message<'_>,
        reply: &mut Vec<u8>,
    ) -> Result<ClientVerdict, DropReason> {
        if index.is_some_and(|index| self.at(index).state == State::Opening) {
            return Err(DropReason::InProgress);
        }
        let scan = message.scan()?;
        let mut request = Request::decode(message, scan, std::mem::take(&mut self.scratch));
        let verdict = self.answer(now, five_tuple, index, &mut request, reply);
        self.scratch = request.into_scratch();
        verdict
    }

    fn answer(
        &mut self,
        now: Now,
        five_tuple: &FiveTuple,
        index: Option<u32>,
        request: &mut Request<'_>,
        reply: &mut Vec<u8>,
    ) -> Result<ClientVerdict, DropReason> {
        let allocation = index.map(|index| self.key(index));
        let known = index.map(|index| self.at(index).user.clone());
        let user = match self.authenticate(now, five_tuple, request, known.as_ref()) {
            Ok(user) => user,
            Err(refusal) => {
                self.refuse(now, five_tuple, request, refusal, reply)?;
                let result = match (refusal, request.method) {
                    (Refusal::Challenge, Method::Allocate) => RequestResult::Challenge,
                    _ => RequestResult::Error,
                };
                self.count_request(request.method, five_tuple, result);
                return Ok(ClientVerdict::Reply { allocation });
            }
        };
        let signer = user.clone();
        let answer = match (request.unknown.is_empty(), request.method) {
            (false, _) => Err(ErrorCode::UnknownAttribute),
            (true, Method::Allocate) => match self.allocate(now, five_tuple, index, request, user) {
                Ok(Some(answer)) => Ok(answer),
                Ok(None) => return Ok(ClientVerdict::Handled),
                Err(code) => {
                    self.counters.allocation_failures.count(code);
                    Err(code)
                }
            },
            (true, method) => self.on_allocation(now, index, request, &user, method),
        };
        let result = if answer.is_ok() { RequestResult::Success } else { RequestResult::Error };
        self.count_request(request.method, five_tuple, result);
        let response = answer.unwrap_or_else(|code| {
            let error = Response::error(request.method, request.transaction_id, code);
            match code {
                ErrorCode::UnknownAttribute => error.unknown_attributes(&request.unknown),
                ErrorCode::TryAlternate => error.alternate_server(self.alternate(five_tuple)),
                _ => error,
            }
        });
        reply.extend_from_slice(&signer.sign(response));
        Ok(ClientVerdict::Reply { allocation })
    }

    fn count_request(&mut self, method: Method, five_tuple: &FiveTuple, result: RequestResult) {
        if let Some(method) = method.of_requests() {
            self.counters.requests.count(method, five_tuple.transport, result);
        }
    }

    /// Requests that need an allocation, and the user who made it (RFC 8656 §5).
    fn on_allocation(
        &mut self,
        now: Now,
        index: Option<u32>,
        request: &Request<'_>,
        user: &User,
        method: Method,
    ) -> Answer {
        let index = index.ok_or(ErrorCode::AllocationMismatch)?;
        if self.at(index).user.username != user.username {
            return Err(ErrorCode::WrongCredentials);
        }
        match method {
            Method::Refresh => self.refresh(now, index, request),
            Method::CreatePermission => self.create_permission(now, index, request),
            Method::ChannelBind => self.channel_bind(now, index, request),
            Method::Allocate | Method::Binding | Method::Send => Err(ErrorCode::BadRequest),
        }
    }

    /// Expiry is a matter of Allocate alone: a call outlives its credential, unless `strict_expiry`. To end an allocation
    /// needs no credential that is still good.
    fn authenticate(
        &self,
        now: Now,
        five_tuple: &FiveTuple,
        request: &mut Request<'_>,
        known: Option<&User>,
    ) -> Result<User, Refusal> {
        let user = self.authenticator.authenticate(now, five_tuple.client, request, known)?;
        let expiry_counts = match request.method {
            // A retransmission, whose first has been let in.
            Method::Allocate => known.is_none_or(|known| known.username != user.username),
            Method::Refresh => self.config.strict_expiry && request.lifetime() != Ok(Some(0)),
            _ => false,
        };
        match expiry_counts && self.authenticator.is_expired(now, &user.username) {
            true => Err(Refusal::Unauthorized(AuthFailure::Expired)),
            false => Ok(user),
        }
    }

    fn refuse(
        &mut self,
        now: Now,
        five_tuple: &FiveTuple,
        request: &Request<'_>,
        refusal: Refusal,
        reply: &mut Vec<u8>,
    ) -> Result<(), DropReason> {
        let (code, failure) = match refusal {
            Refusal::Challenge => (ErrorCode::Unauthorized, None),
            Refusal::Incomplete => (ErrorCode::BadRequest, Some(AuthFailure::Incomplete)),
            Refusal::Unauthorized(failure) => (ErrorCode::Unauthorized, Some(failure)),
            Refusal::StaleNonce => (ErrorCode::StaleNonce, Some(AuthFailure::StaleNonce)),
        };
        if let Some(failure) = failure {
            self.count_auth_failure(five_tuple.client.ip(), failure);
        }
        self.admit_source(now, five_tuple, Unproven::Unauthenticated)?;
        let error = Response::bare_error(request.method, request.transaction_id, code);
        let error = match code {
            ErrorCode::BadRequest => error,
            _ => self.authenticator.challenge(now, five_tuple.client, error),
        };
        reply.extend_from_slice(&error.unsigned());
        Ok(())
    }

    /// max(600 s, min(asked, max_lifetime)) (RFC 8656 §7.2).
    fn lifetime(&self, asked: Option<u32>) -> Duration {
        let asked = asked.map_or(self.config.default_lifetime, |seconds| Duration::from_secs(seconds.into()));
        asked.min(self.config.max_lifetime).max(MIN_LIFETIME)
    }
}
