//! Strict TOML configuration of Turnpike: read once, checked whole, resolved to plain values.
//!
//! `raw` mirrors the file (every key optional, unknown keys refused), `resolved` is what the services get.
//! [`load`] is the way from one to the other.

#![forbid(unsafe_code)]

mod check;
mod document;
mod host;
mod load;
mod problem;
mod raw;
mod resolve;
mod resolved;
mod secrets;
mod this_machine;
mod units;

pub use document::Written;
pub use host::{Host, InterfaceAddress};
pub use load::{Loaded, MissingSecret, Note, Request, check_text, load};
pub use problem::{ConfigError, Place, Problem};
pub use resolve::preset;
pub use resolved::*;
pub use secrets::SecretFile;
pub use units::{DurationError, format_duration, parse_duration};
