//! Signaling: strangers are matched, their SDP and ICE candidates relayed in order, credentials minted for their calls.
//!
//! `hub` holds all state and is the only authority on who is in which pair; `socket` is its Socket.IO side, `http` its
//! REST side and the page. The shapes on the wire are in `contract`, which `signaling/contract/schema.json` describes.

#![forbid(unsafe_code)]

mod client_address;
mod clock;
mod contract;
mod error;
mod http;
mod hub;
mod ice;
mod internal_socket;
mod limit;
mod metrics;
mod moderation;
mod privacy;
mod random;
mod relay_admin;
mod relay_health;
mod relay_revoke;
mod remote;
mod serve;
mod socket;
mod state_file;
#[doc(hidden)]
pub mod store;

pub use error::StartError;
pub use remote::Remote;
pub use serve::{Listening, Signaling};

/// Every metric of signaling.
pub fn metric_catalogue() -> Vec<turnpike_relay_api::catalogue::MetricRow> {
    metrics::Metrics::new().catalogue()
}
