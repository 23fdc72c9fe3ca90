//! The 96 rules of RFC 8489 and RFC 8656, and a runner that scores any TURN server by them.
//!
//! Every rule is one entry of [`rules::all`]; [`score`] runs those that can be seen from outside against a
//! [`Target`]; a [`Report`] is shown as a table, as JSON, or beside others as Markdown.

#![forbid(unsafe_code)]

pub mod rules;

mod client;
mod date;
mod describe;
mod expect;
mod finding;
mod lab;
mod peer;
mod raw;
mod report;
mod rule;
mod score;
mod target;

pub use report::{Column, Line, Report, Verdict, list, markdown};
pub use rule::{Rule, Seen};
pub use score::{reachable, score};
pub use target::Target;
