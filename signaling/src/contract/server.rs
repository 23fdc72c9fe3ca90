//! What the server sends.

use serde::{Serialize, Serializer};
use turnpike_matching::{Id, Role};
use turnpike_relay_api::cost::Step;

use super::{ErrorCode, SignalBody};

/// An event with its place among those of its session.
#[derive(Debug, Serialize)]
pub(crate) struct Sequenced<'a> {
    pub(crate) seq: u64,
    #[serde(flatten)]
    pub(crate) event: &'a ServerEvent,
}

#[derive(Debug, Serialize)]
#[serde(untagged, rename_all_fields = "camelCase")]
pub(crate) enum ServerEvent {
    Hello {
        #[serde(serialize_with = "display")]
        session: Id,
        #[serde(serialize_with = "display")]
        resume: Id,
        /// Seconds that a session lives without a socket.
        resume_ttl: u64,
        #[serde(serialize_with = "display")]
        token: Id,
        ice: Ice,
        limits: Limits,
        online: usize,
        node: String,
    },
    QueueState {
        state: &'static str,
        since: u64,
        widened: bool,
    },
    MatchFound {
        #[serde(serialize_with = "display")]
        pair: Id,
        #[serde(serialize_with = "role_name")]
        role: Role,
        polite: bool,
        common: Vec<String>,
        ice: Ice,
        deadline_ms: u64,
    },
    MatchStart {
        #[serde(serialize_with = "display")]
        pair: Id,
    },
    Signal {
        #[serde(serialize_with = "display")]
        pair: Id,
        #[serde(rename = "gen")]
        generation: u32,
        #[serde(flatten)]
        body: SignalBody,
    },
    MatchEnded {
        #[serde(serialize_with = "display")]
        pair: Id,
        reason: EndReason,
        state: &'static str,
    },
    ChatMessage {
        #[serde(serialize_with = "display")]
        pair: Id,
        id: String,
        text: String,
    },
    ChatTyping {
        #[serde(serialize_with = "display")]
        pair: Id,
        on: bool,
    },
    PeerState {
        #[serde(serialize_with = "display")]
        pair: Id,
        state: PeerPresence,
        grace_ms: u64,
    },
    /// Not counted: its `seq` is that of the last event which the client has told of.
    SessionResumed {
        state: SessionState,
        #[serde(serialize_with = "display_some", skip_serializing_if = "Option::is_none")]
        pair: Option<Id>,
        last_client_seq: u64,
    },
    Notice {
        kind: &'static str,
        reconnect_in_ms: u64,
    },
}

impl ServerEvent {
    /// Every name.
    pub(crate) const NAMES: &'static [&'static str] = &[
        "hello",
        "session.resumed",
        "queue.state",
        "match.found",
        "match.start",
        "signal",
        "chat.message",
        "chat.typing",
        "peer.state",
        "match.ended",
        "notice",
    ];

    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Hello { .. } => "hello",
            Self::QueueState { .. } => "queue.state",
            Self::MatchFound { .. } => "match.found",
            Self::MatchStart { .. } => "match.start",
            Self::Signal { .. } => "signal",
            Self::ChatMessage { .. } => "chat.message",
            Self::ChatTyping { .. } => "chat.typing",
            Self::PeerState { .. } => "peer.state",
            Self::SessionResumed { .. } => "session.resumed",
            Self::MatchEnded { .. } => "match.ended",
            Self::Notice { .. } => "notice",
        }
    }
}

/// Whether a partner has a socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum PeerPresence {
    Reconnecting,
    Back,
}

/// Where a session is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum SessionState {
    Idle,
    Waiting,
    Offered,
    Active,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum EndReason {
    Next,
    Left,
    Lost,
    Expired,
    Reported,
    Quota,
    Admin,
    Drain,
}

impl EndReason {
    pub(crate) const ALL: &'static [Self] = &[
        Self::Next,
        Self::Left,
        Self::Lost,
        Self::Expired,
        Self::Reported,
        Self::Quota,
        Self::Admin,
        Self::Drain,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Next => "next",
            Self::Left => "left",
            Self::Lost => "lost",
            Self::Expired => "expired",
            Self::Reported => "reported",
            Self::Quota => "quota",
            Self::Admin => "admin",
            Self::Drain => "drain",
        }
    }
}

impl From<turnpike_matching::Ended> for EndReason {
    fn from(ended: turnpike_matching::Ended) -> Self {
        match ended {
            turnpike_matching::Ended::Next => Self::Next,
            turnpike_matching::Ended::Left => Self::Left,
            turnpike_matching::Ended::Lost => Self::Lost,
            turnpike_matching::Ended::Expired => Self::Expired,
            turnpike_matching::Ended::Reported => Self::Reported,
            turnpike_matching::Ended::Quota => Self::Quota,
            turnpike_matching::Ended::Admin => Self::Admin,
        }
    }
}

/// What `new RTCPeerConnection()` takes, with the life of the credential in it.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Ice {
    pub(crate) ice_servers: Vec<IceServer>,
    pub(crate) ice_transport_policy: &'static str,
    pub(crate) bundle_policy: &'static str,
    /// Seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) ttl: Option<u64>,
    /// Unix seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) expires_at: Option<u64>,
    /// Seconds from now.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) refresh_after: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) warning: Option<Warning>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Warning {
    RelayUnavailable,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(untagged)]
pub(crate) enum IceServer {
    Stun { urls: Vec<String> },
    Turn { urls: Vec<String>, username: String, credential: String },
}

/// What a client should keep to.
#[derive(Debug, Clone, Copy, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Limits {
    pub(crate) interests: usize,
    pub(crate) interest_chars: usize,
    pub(crate) sdp_bytes: usize,
    pub(crate) candidate_bytes: usize,
    pub(crate) candidates_per_generation: usize,
    pub(crate) events_per_second: u32,
    pub(crate) event_burst: u32,
    pub(crate) next_per_second: u32,
    pub(crate) next_burst: u32,
    /// Where the relay's budget is: at `stop` nobody is given TURN.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) budget: Option<Step>,
}

/// The answer to a client's event.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Ack {
    pub(crate) ok: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) code: Option<ErrorCode>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) retry_after_ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) expected_seq: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) result: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) duplicate: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) ice: Option<Ice>,
}

impl Ack {
    pub(crate) fn done() -> Self {
        Self { ok: true, ..Self::default() }
    }

    pub(crate) fn refused(code: ErrorCode) -> Self {
        Self { code: Some(code), ..Self::default() }
    }
}

impl From<Result<(), turnpike_matching::Refused>> for Ack {
    fn from(result: Result<(), turnpike_matching::Refused>) -> Self {
        result.map_or_else(|refused| Self::refused(refused.into()), |()| Self::done())
    }
}

fn display<S: Serializer>(id: &Id, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(id)
}

fn display_some<S: Serializer>(id: &Option<Id>, serializer: S) -> Result<S::Ok, S::Error> {
    match id {
        Some(id) => display(id, serializer),
        None => serializer.serialize_none(),
    }
}

fn role_name<S: Serializer>(role: &Role, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(match role {
        Role::Initiator => "initiator",
        Role::Responder => "responder",
    })
}
