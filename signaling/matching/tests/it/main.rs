//! The rules of meeting, one by one, and under random storms of steps.

#![allow(clippy::unwrap_used, unreachable_pub)]

mod rules;
mod storm;
mod world;
