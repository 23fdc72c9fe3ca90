//! The closed table of refusals.

use serde::Serialize;

/// Why an event, or a connection, is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, thiserror::Error)]
#[serde(rename_all = "snake_case")]
pub(crate) enum ErrorCode {
    #[error("bad_request")]
    BadRequest,
    #[error("unknown_event")]
    UnknownEvent,
    #[error("rate_limited")]
    RateLimited,
    #[error("out_of_order")]
    OutOfOrder,
    #[error("stale_generation")]
    StaleGeneration,
    #[error("not_in_pair")]
    NotInPair,
    #[error("wrong_state")]
    WrongState,
    #[error("not_initiator")]
    NotInitiator,
    #[error("draining")]
    Draining,
    #[error("unsupported_version")]
    UnsupportedVersion,
    #[error("overloaded")]
    Overloaded,
    #[error("banned")]
    Banned,
}

impl ErrorCode {
    pub(crate) const ALL: &'static [Self] = &[
        Self::BadRequest,
        Self::UnknownEvent,
        Self::RateLimited,
        Self::OutOfOrder,
        Self::StaleGeneration,
        Self::NotInPair,
        Self::WrongState,
        Self::NotInitiator,
        Self::Draining,
        Self::UnsupportedVersion,
        Self::Overloaded,
        Self::Banned,
    ];
}

impl From<turnpike_matching::Refused> for ErrorCode {
    fn from(refused: turnpike_matching::Refused) -> Self {
        match refused {
            turnpike_matching::Refused::NotInPair => Self::NotInPair,
            turnpike_matching::Refused::WrongState => Self::WrongState,
            turnpike_matching::Refused::Draining => Self::Draining,
        }
    }
}
