//! One target a file: `run` takes any bytes and panics when the server does what it must not.

pub mod auth;
pub mod channel_data;
pub mod client_bytes;
pub mod decode;
pub mod framer;
mod input;
pub mod operations;
pub mod peer_policy;

/// Runs a target on an input.
pub type Target = fn(&[u8]);

/// Every target, with the name of its corpus.
pub const ALL: [(&str, Target); 7] = [
    ("auth", auth::run),
    ("channel_data", channel_data::run),
    ("client_bytes", client_bytes::run),
    ("decode", decode::run),
    ("framer", framer::run),
    ("operations", operations::run),
    ("peer_policy", peer_policy::run),
];
