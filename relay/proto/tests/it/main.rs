//! The rules of RFC 8489 and RFC 8656 in virtual time. `rule_NN` names the rule of the design's table.

#![allow(clippy::unwrap_used, unreachable_pub)]

mod message;
mod oracle;
mod world;

mod allocate;
mod auth;
mod bad_input;
mod channel;
mod corpus;
mod data;
mod disconnected;
mod families;
mod framing;
mod icmp;
mod integrity_sha256;
mod limits;
mod metering;
mod peer_policy;
mod permission;
mod refresh;
mod stream;
