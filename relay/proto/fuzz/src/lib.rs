//! Fuzz targets of `turnpike-proto`. Their bodies are plain functions of bytes, which the core's tests run as well
//! (`tests/it/corpus.rs`); messages are written and read by the tests' own code, not by the server's.

#![allow(clippy::unwrap_used, clippy::new_without_default)]

#[path = "../../tests/it/message.rs"]
pub mod message;
#[path = "../../tests/it/oracle.rs"]
pub mod oracle;
#[path = "../../tests/it/world.rs"]
pub mod world;

pub mod targets;
