//! Who meets whom: the queue and the pairing of strangers, without sockets, clocks or threads.
//!
//! [`Matching`] takes one step at a time ([`Matching::join`], [`Matching::accept`], ...), each with the time and, where a
//! pair may come of it, a fresh id; then [`Matching::poll_event`] tells what became of whom, in order.
//!
//! Alone it is the store in memory. Where nodes share a store ([`Matching::share`]), that one makes the pairs:
//! [`Matching::poll_order`] says what it is to be told, and [`Matching::found`], [`Matching::start`] and
//! [`Matching::ended`] take what it says. Who is in which pair is decided here all the same: what the store loses or says
//! twice makes no double pair.

#![forbid(unsafe_code)]

mod apart;
mod id;
mod matching;
mod queue;
mod recent;
mod timers;

pub use id::Id;
pub use matching::{
    Ended, Event, Found, KeptPair, KeptSession, Left, Matching, Membership, Order, Refused, Role, Rules,
};
pub use queue::{Mode, Wishes};
