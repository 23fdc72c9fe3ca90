//! The shapes on the wire, as `signaling/contract/schema.json` has them.

mod client;
mod code;
mod server;

#[cfg(test)]
pub(crate) use client::Description;
pub(crate) use client::{
    Candidate, CandidateType, Category, ChatSend, ClientEvent, Connect, DescriptionType, PairStats, Privacy,
    QueueJoin, Report, Resume, Signal, SignalBody, WireId,
};
pub(crate) use code::ErrorCode;
pub(crate) use server::{
    Ack, EndReason, Ice, IceServer, Limits, PeerPresence, Sequenced, ServerEvent, SessionState, Warning,
};

/// Most interests of one session.
pub(crate) const MAX_INTERESTS: usize = 10;
/// Longest interest in characters.
pub(crate) const MAX_INTEREST_CHARS: usize = 30;
/// Longest SDP in bytes.
pub(crate) const MAX_SDP_BYTES: usize = 32 * 1024;
/// Longest candidate in bytes.
pub(crate) const MAX_CANDIDATE_BYTES: usize = 1024;
/// Most candidates of one side in one ICE generation.
pub(crate) const MAX_CANDIDATES: usize = 64;
/// Longest line of chat in bytes.
pub(crate) const MAX_CHAT_BYTES: usize = 2048;
/// Longest id of one in characters.
pub(crate) const MAX_CHAT_ID_CHARS: usize = 64;
/// Longest note of a report in characters.
pub(crate) const MAX_NOTE_CHARS: usize = 500;
/// Largest Socket.IO message and WebSocket frame in bytes.
pub(crate) const MAX_MESSAGE_BYTES: usize = 64 * 1024;
