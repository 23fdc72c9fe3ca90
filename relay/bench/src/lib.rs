//! The project's load generator and benchmark, for any TURN server.
//!
//! [`Load`](load::Load) sends the flows of one [`Plan`](load::Plan) and tells what arrived at their far ends; [`compare`]
//! runs many of them against ours, coturn and a bare forwarder ([`forward`]), alternating; a [`Report`](report::Report)
//! shows medians, spreads and the figures to reach.

#![deny(unsafe_code)]

pub mod cells;
pub mod clients;
pub mod compare;
pub mod datagrams;
pub mod flows;
pub mod forward;
pub mod framing;
pub mod histogram;
pub mod load;
pub mod measure;
pub mod poller;
pub mod process;
pub mod report;
pub mod scenarios;
pub mod servers;
pub mod stamp;
pub mod syscalls;
pub mod transact;
