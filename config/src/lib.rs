//! Strict TOML configuration of Turnpike: read once, checked whole, resolved to plain values.
//!
//! `raw` mirrors the file (every key optional, unknown keys refused), `resolved` is what the services get.
//! [`load`] is the way from one to the other.

#![forbid(unsafe_code)]

mod check;
mod detect;
mod document;
mod host;
mod load;
mod masked;
mod problem;
mod raw;
mod resolve;
mod resolved;
mod sample;
mod secrets;
mod this_machine;
mod units;

pub use detect::{Detect, ways_to_ask};
pub use document::{Setting, Written};
pub use host::{Host, InterfaceAddress};
pub use load::{Loaded, MissingSecret, Note, Request, check_text, load};
pub use masked::masked;
pub use problem::{ConfigError, Place, Problem};
pub use resolve::preset;
pub use resolved::*;
pub use sample::{Explained, SAMPLE, explain_key, sample_keys};
pub use secrets::SecretFile;
pub use units::{DurationError, format_duration, parse_duration};
