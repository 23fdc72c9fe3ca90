//! The relay over real sockets on loopback.
#![allow(clippy::unwrap_used)]

mod admin;
mod allocate;
mod client;
mod ending;
mod hairpin;
mod harness;
mod http;
mod limits;
mod log;
mod metrics;
mod revoke;
mod sources;
mod start;
mod streams;
mod traffic;
mod turn_crate;
