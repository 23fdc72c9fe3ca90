//! The relay over real sockets on loopback.
#![allow(clippy::unwrap_used)]

mod admin;
mod allocate;
mod client;
mod ending;
mod families;
mod hairpin;
mod harness;
mod http;
mod icmp;
mod limits;
mod log;
mod metrics;
mod network;
#[path = "../../proto/tests/it/oracle.rs"]
#[allow(dead_code, unreachable_pub, reason = "shared with the core's tests")]
mod oracle;
mod peer_policy;
mod revoke;
mod routed;
mod secure;
mod self_test;
mod sources;
mod speed;
mod start;
mod streams;
mod traffic;
mod turn;
mod turn_crate;
