//! The runner against real servers: coturn as a process, and the relay of this workspace.
#![allow(clippy::unwrap_used, reason = "a test ends at what it did not expect")]

mod coturn;
mod coverage;
mod engine;
mod ports;
mod scores;
mod turnpike;
