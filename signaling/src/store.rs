//! The store that nodes share, beside the one in memory.
//!
//! A node's own [`Matching`] is the store in memory, and stays the authority on who of its sessions is in which pair. With
//! `[redis] url`, pairs are made in Redis: [`Shared`] carries what the matching has to say there and back, and what the two
//! sides of a pair say to each other between their nodes; [`run`] is the way to Redis itself. What Redis loses, says twice
//! or says late can cost a match, but never makes a double pair.
//!
//! It is public for the battery of tests that runs over both stores.

mod channel;
mod note;
mod redis;
mod shared;

pub(crate) use self::{
    note::{Command, Left},
    shared::Passage,
};
pub use self::{
    redis::{Place, PlaceError, Watch, run},
    shared::{Heard, Shared},
};

#[cfg(doc)]
use turnpike_matching::Matching;

/// What the way to Redis brings; taken by [`Shared::take`].
#[derive(Debug)]
pub struct News(note::News);

/// What is to be told to Redis; taken by [`run`].
#[derive(Debug)]
pub struct Outgoing {
    commands: tokio::sync::mpsc::Receiver<Command>,
    /// More was to be told than can wait.
    overrun: std::sync::Arc<tokio::sync::Notify>,
}
