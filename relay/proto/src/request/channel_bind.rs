//! ChannelBind (RFC 8656 §12.2).

use super::Answer;
use crate::{
    ErrorCode, Now, Server,
    allocation::BindError,
    wire::{Request, Response},
};

impl Server {
    pub(super) fn channel_bind(&mut self, now: Now, index: u32, request: &Request<'_>) -> Answer {
        let number = request.channel_number().ok().flatten().ok_or(ErrorCode::BadRequest)?;
        let peer = request.peer().ok().flatten().ok_or(ErrorCode::BadRequest)?;
        let last = if self.config.rfc5766_channel_numbers { 0x7FFF } else { 0x4FFF };
        if !(0x4000..=last).contains(&number) {
            return Err(ErrorCode::BadRequest);
        }
        self.admit_peer(now, index, peer.ip())?;
        self.policy.judge_port(peer).map_err(|denied| {
            self.counters.peers_denied.count(denied);
            ErrorCode::Forbidden
        })?;
        let (route, limits) = (self.policy.route(peer.ip()), self.limits());
        match self.at(index).bind(number, peer, route, now.mono, &limits) {
            Ok(()) => Ok(Response::success(request.method, request.transaction_id)),
            Err(BindError::Taken) => Err(ErrorCode::BadRequest),
            Err(BindError::TooMany) => Err(ErrorCode::InsufficientCapacity),
        }
    }
}
