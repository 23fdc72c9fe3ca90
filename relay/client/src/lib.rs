//! A TURN client (RFC 8489, RFC 8656) with a codec of its own, so that it and the server check each other.
//!
//! Three layers, each usable alone. The codec: [`Writer`], [`Message`], [`channel_data`], [`Deframer`], which also
//! write and read what is wrong on purpose. The state of a client without I/O: [`Signer`] and [`Session`], for a driver
//! with its own sockets and timers. Blocking sockets around them: [`Connection`] and [`Allocation`].

#![forbid(unsafe_code)]

pub mod attribute;
pub mod channel_data;
pub mod integrity;
pub mod method;

mod address;
mod allocation;
mod attributes;
mod challenge;
mod connection;
mod credentials;
mod deframer;
mod error;
mod kind;
mod message;
mod retransmission;
mod session;
mod signer;
mod tls;
mod transport;
mod writer;

pub use address::{decode_address, decode_xor_address, encode_xor_address};
pub use allocation::{Allocation, Datagram};
pub use attributes::{Attribute, Attributes};
pub use challenge::Challenge;
pub use connection::{Connection, Endpoint};
pub use credentials::Credentials;
pub use deframer::Deframer;
pub use error::{Error, Malformed};
pub use kind::{Class, Kind};
pub use message::{ErrorCode, Message};
pub use retransmission::Retransmission;
pub use session::{AllocateOptions, Progress, Received, Session};
pub use signer::{AlgorithmChoice, Signer};
pub use tls::TlsClient;
pub use transport::Transport;
pub use writer::{TransactionId, Writer};

/// The magic cookie of every message (RFC 8489 §5).
pub const MAGIC_COOKIE: [u8; 4] = [0x21, 0x12, 0xA4, 0x42];
/// Bytes of a STUN header.
pub const HEADER_LEN: usize = 20;
