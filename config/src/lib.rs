//! Strict TOML configuration of Turnpike: read once, checked whole, resolved to plain values.
//!
//! `raw` mirrors the file (every key optional, unknown keys refused), `resolved` is what the services get.

#![forbid(unsafe_code)]

mod resolved;

pub use resolved::*;
