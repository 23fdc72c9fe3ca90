//! What the relay and others say to each other: the credential scheme, the admin types, whose connection is handed over.

#![forbid(unsafe_code)]

pub mod admin;
pub mod catalogue;
pub mod cost;
pub mod credential;
pub mod proxy;
pub mod target;
pub mod usage;
