//! Refresh (RFC 8656 §8.2).

use std::time::Duration;

use super::Answer;
use crate::{
    Cause, ErrorCode, Now, Server,
    wire::{Request, Response},
};

impl Server {
    pub(super) fn refresh(&mut self, now: Now, index: u32, request: &Request<'_>) -> Answer {
        let family = if self.at(index).relayed.is_ipv4() { 1 } else { 2 };
        if request.requested_family().is_some_and(|asked| asked != Some(family)) {
            return Err(ErrorCode::PeerAddressFamilyMismatch);
        }
        let asked = request.lifetime().map_err(|_| ErrorCode::BadRequest)?;
        let lifetime = match asked {
            Some(0) => {
                self.close(now.mono, index, Cause::Client);
                Duration::ZERO
            }
            asked => {
                let lifetime = self.lifetime(asked);
                self.at(index).expires = now.mono + lifetime;
                lifetime
            }
        };
        Ok(Response::success(request.method, request.transaction_id)
            .lifetime(lifetime)
            .software(self.config.software.as_deref()))
    }
}
