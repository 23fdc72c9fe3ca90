//! The TURN server as a state machine: bytes, time and randomness in, verdicts and outputs out.
//!
//! No socket, clock, thread or environment is touched here. The contract of [`Server`]:
//! 1. give it one input ([`Server::handle_client`], [`Server::handle_peer`], [`Server::handle_timeout`], ...);
//! 2. act on the verdict, which forwards bytes of the very datagram that was given;
//! 3. drain [`Server::poll_output`] until it is empty; what can fail comes back as an input.
//!
//! Bad input ends in an answer with an RFC code or in a counted [`DropReason`], never in a panic.

#![forbid(unsafe_code)]

mod address;
mod allocation;
mod auth;
mod bitrate;
mod config;
mod counters;
mod data;
mod failures;
mod icmp;
mod output;
mod policy;
mod request;
mod server;
mod sources;
mod wire;

pub use address::{AllocationKey, ByFamily, Family, FiveTuple, Now, Transport};
pub use allocation::{Allocation, AllocationId};
pub use bitrate::{ByteQuota, SharedBucket, Shares};
pub use config::{Config, OwnAddresses};
pub use counters::{
    AuthFailure, Cause, Counters, DropReason, ErrorCode, Label, RequestMethod, RequestResult, Requests, Tally,
};
pub use failures::AuthFailures;
pub use output::{
    ClientVerdict, Closed, Header, Icmp, LimitedCredential, OpenedRelay, Output, PeerVerdict, PortRequest,
    RelayRefused, RelayRequest, Route,
};
pub use policy::{Denied, PeerPolicy};
pub use server::Server;
pub use sources::SourceLimits;
pub use wire::stream::{Frame, MAX_FRAME, next_frame};
