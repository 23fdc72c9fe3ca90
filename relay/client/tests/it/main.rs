//! The codec against published vectors, and against anything at all.

mod arbitrary;
mod vectors;
