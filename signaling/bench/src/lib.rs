//! Crowds of strangers, for any server that speaks the signaling contract: ours, and a small one on Node's Socket.IO
//! beside it.
//!
//! A [`Stranger`](stranger::Stranger) is one socket. A scenario lets many of them loose: [`idle`], [`matches`],
//! [`signals`] and [`storm`]. What they tell is what arrived at them, beside what it cost the server and the crowd.

#![deny(unsafe_code)]

pub mod crowd;
pub mod idle;
pub mod ledger;
pub mod matches;
pub mod report;
pub mod servers;
pub mod signals;
pub mod storm;
pub mod stranger;
