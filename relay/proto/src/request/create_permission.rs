//! CreatePermission (RFC 8656 §10.2): all of its peers, or none.

use std::net::IpAddr;

use super::Answer;
use crate::{
    ErrorCode, Family, Now, Server,
    wire::{Request, Response},
};

impl Server {
    pub(super) fn create_permission(&mut self, now: Now, index: u32, request: &Request<'_>) -> Answer {
        let peers: Result<Vec<IpAddr>, _> = request.peers().map(|peer| peer.map(|peer| peer.ip())).collect();
        let peers = peers.map_err(|_| ErrorCode::BadRequest)?;
        if peers.is_empty() {
            return Err(ErrorCode::BadRequest);
        }
        for ip in &peers {
            self.admit_peer(now, index, *ip)?;
        }
        let most = self.limits().permissions;
        match self.at(index).permit(&peers, now.mono, most) {
            true => Ok(Response::success(request.method, request.transaction_id)),
            false => Err(ErrorCode::InsufficientCapacity),
        }
    }

    /// Judges a peer's address: 443 for a family that no relayed address has, 403 for one that is denied.
    pub(super) fn admit_peer(&mut self, now: Now, index: u32, ip: IpAddr) -> Result<(), ErrorCode> {
        if !self.at(index).serves(Family::of(ip), now.mono) {
            return Err(ErrorCode::PeerAddressFamilyMismatch);
        }
        self.policy.judge(ip).map_err(|denied| {
            self.counters.peers_denied.count(denied);
            ErrorCode::Forbidden
        })
    }
}
