//! The fuzz target of `turnpike-config`. Its body is a plain function of bytes, which the crate's tests run as well
//! (`tests/it/corpus.rs`).

pub mod target;
