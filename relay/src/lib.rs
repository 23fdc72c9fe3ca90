//! The relay: listeners and relay sockets around the sans-IO core, its counters, its admin socket.
//!
//! [`Relay::bind`] opens everything, [`Relay::serve`] runs it. One thread a shard carries the traffic; HTTP for the admin
//! and for metrics runs on the caller's tokio runtime and reads what the shards publish.

#![deny(unsafe_code)]

mod admin;
mod bind;
mod budget;
mod clock;
mod cost;
mod ended;
mod error;
mod failures;
mod front_door;
mod host;
mod io;
mod ledger;
mod lock;
mod logins;
mod metrics;
mod reload;
mod remote;
mod revocations;
mod ring;
mod self_test;
mod serve;
mod setups;
mod shard;
mod shared;
mod snapshot;
mod tls;
mod upkeep;
mod view;
mod webhook;
mod worker;

pub use bind::{Listening, Relay, is_skipped};
pub use error::{Listener, StartError};
pub use host::{open_files, ports_given_to_others};
pub use metrics::catalogue as metric_catalogue;
pub use remote::Remote;
pub use serve::Summary;
pub use tls::{Certificate, CertificateError, check_certificate};
pub use upkeep::ReloadRequest;
