//! Refresh (RFC 8656 §8.2): of one relayed address where REQUESTED-ADDRESS-FAMILY says so, else of all.

use std::time::Duration;

use super::Answer;
use crate::{
    Cause, ErrorCode, Family, Now, Server,
    wire::{Request, Response},
};

impl Server {
    pub(super) fn refresh(&mut self, now: Now, index: u32, request: &Request<'_>) -> Answer {
        let one = request.requested_family().map_err(|_| ErrorCode::BadRequest)?;
        let asked = request.lifetime().map_err(|_| ErrorCode::BadRequest)?;
        let one = one.map(|number| self.served(now, index, number)).transpose()?;
        let others = |family: Family| one.is_some_and(|one| one != family);
        let lifetime = match asked {
            Some(0) => {
                let allocation = self.at(index);
                let lives_on = Family::ALL.into_iter().any(|f| others(f) && allocation.serves(f, now.mono));
                match one {
                    Some(family) if lives_on => self.close_address(now.mono, index, family),
                    _ => self.close(now.mono, index, Cause::Client),
                }
                Duration::ZERO
            }
            asked => {
                let lifetime = self.lifetime(asked);
                for family in Family::ALL.into_iter().filter(|family| !others(*family)) {
                    self.at(index).refresh(family, now.mono, lifetime);
                }
                lifetime
            }
        };
        Ok(Response::success(request.method, request.transaction_id)
            .lifetime(lifetime)
            .software(self.config.software.as_deref()))
    }

    /// The family of this number, if the allocation has a relayed address of it.
    fn served(&mut self, now: Now, index: u32, number: u8) -> Result<Family, ErrorCode> {
        Family::of_number(number)
            .filter(|family| self.at(index).serves(*family, now.mono))
            .ok_or(ErrorCode::PeerAddressFamilyMismatch)
    }
}
