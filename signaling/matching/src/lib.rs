//! Who meets whom: the queue and the pairing of strangers, without sockets, clocks or threads.
//!
//! [`Matching`] takes one step at a time ([`Matching::join`], [`Matching::accept`], ...), each with the time and, where a
//! pair may come of it, a fresh id; then [`Matching::poll_event`] tells what became of whom, in order.

#![forbid(unsafe_code)]

mod apart;
mod id;
mod matching;
mod queue;
mod recent;
mod timers;

pub use id::Id;
pub use matching::{Ended, Event, KeptPair, KeptSession, Left, Matching, Membership, Refused, Role, Rules};
pub use queue::{Mode, Wishes};
