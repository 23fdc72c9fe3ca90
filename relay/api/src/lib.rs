//! What others say to the relay: the credential scheme and the admin types.

#![forbid(unsafe_code)]

pub mod admin;
pub mod credential;
pub mod target;
