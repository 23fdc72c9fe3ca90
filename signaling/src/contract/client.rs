//! What clients send. Members that are not known are refused.

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};
use serde_json::Value;
use turnpike_matching::{Id, Mode, Wishes};

use super::{
    ErrorCode, MAX_CANDIDATE_BYTES, MAX_CANDIDATES, MAX_CHAT_BYTES, MAX_CHAT_ID_CHARS, MAX_INTEREST_CHARS,
    MAX_INTERESTS, MAX_NOTE_CHARS, MAX_SDP_BYTES,
};

/// The largest integer that JSON carries safely.
const MAX_SAFE: u64 = (1 << 53) - 1;

/// An event of a client, checked.
#[derive(Debug)]
pub(crate) enum ClientEvent {
    QueueJoin(QueueJoin),
    QueueLeave,
    MatchAccept(Id),
    MatchNext { pair: Id, join: Option<QueueJoin> },
    MatchLeave(Id),
    Signal(Box<Signal>),
    ChatSend(ChatSend),
    ChatTyping { pair: Id, on: bool },
    PairStats { pair: Id, stats: PairStats },
    IceRefresh(Option<Id>),
    Report(Report),
    Bye,
}

impl ClientEvent {
    /// Every name, for metrics.
    pub(crate) const NAMES: &'static [&'static str] = &[
        "queue.join",
        "queue.leave",
        "match.accept",
        "match.next",
        "match.leave",
        "signal",
        "chat.send",
        "chat.typing",
        "pair.stats",
        "ice.refresh",
        "report",
        "bye",
    ];

    /// Reads the payload of a named event.
    ///
    /// # Errors
    /// `unknown_event`, `bad_request`.
    pub(crate) fn parse(name: &str, payload: Value) -> Result<Self, ErrorCode> {
        fn read<T: for<'de> Deserialize<'de>>(payload: Value) -> Result<T, ErrorCode> {
            serde_json::from_value(payload).map_err(|_| ErrorCode::BadRequest)
        }
        Ok(match name {
            "queue.join" => Self::QueueJoin(read(payload)?),
            "queue.leave" => read::<Empty>(payload).map(|_| Self::QueueLeave)?,
            "match.accept" => Self::MatchAccept(read::<OfPair>(payload)?.pair.0),
            "match.next" => {
                let next: Next = read(payload)?;
                Self::MatchNext { pair: next.pair.0, join: next.join }
            }
            "match.leave" => Self::MatchLeave(read::<OfPair>(payload)?.pair.0),
            "signal" => Self::Signal(Box::new(read(payload)?)),
            "chat.send" => Self::ChatSend(read(payload)?),
            "chat.typing" => {
                let typing: Typing = read(payload)?;
                Self::ChatTyping { pair: typing.pair.0, on: typing.on }
            }
            "pair.stats" => {
                let stats: PairStats = read(payload)?;
                Self::PairStats { pair: stats.pair(), stats }
            }
            "ice.refresh" => Self::IceRefresh(read::<Refresh>(payload)?.pair.map(|pair| pair.0)),
            "report" => Self::Report(read(payload)?),
            "bye" => read::<Empty>(payload).map(|_| Self::Bye)?,
            _ => return Err(ErrorCode::UnknownEvent),
        })
    }
}

/// The auth object of CONNECT.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Connect {
    pub(crate) v: u64,
    #[serde(default)]
    pub(crate) resume: Option<Resume>,
    /// What this browser keeps for itself: bans and blocks go by it.
    #[serde(default)]
    pub(crate) device: Option<WireId>,
    #[serde(default, deserialize_with = "short_text::<64, _>")]
    #[expect(dead_code, reason = "read for its length: what clients call themselves is not kept")]
    pub(crate) client: Option<String>,
}

/// The session that a socket goes on with, and the last event of it that the client has.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(from = "WireResume")]
pub(crate) struct Resume {
    pub(crate) id: Id,
    pub(crate) last_seq: u64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct WireResume {
    id: WireId,
    last_seq: SafeInteger,
}

impl From<WireResume> for Resume {
    fn from(wire: WireResume) -> Self {
        Self { id: wire.id.0, last_seq: wire.last_seq.0 }
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Empty {}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct OfPair {
    pair: WireId,
}

/// A line of text for the partner.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ChatSend {
    pub(crate) pair: WireId,
    #[serde(deserialize_with = "chat_id")]
    pub(crate) id: String,
    #[serde(deserialize_with = "chat_text")]
    pub(crate) text: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Typing {
    pair: WireId,
    on: bool,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Next {
    pair: WireId,
    join: Option<QueueJoin>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Refresh {
    pair: Option<WireId>,
}

/// Whether a side's address may be shown to its partner.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Privacy {
    All,
    Relay,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct QueueJoin {
    #[serde(deserialize_with = "mode")]
    mode: Mode,
    #[serde(deserialize_with = "interests")]
    interests: Vec<String>,
    pub(crate) privacy: Privacy,
}

impl QueueJoin {
    pub(crate) fn wishes(&self) -> Wishes {
        Wishes::new(self.mode, &self.interests)
    }
}

/// A complaint about a partner.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Report {
    pub(crate) pair: WireId,
    pub(crate) category: Category,
    #[serde(default, deserialize_with = "note")]
    pub(crate) note: String,
    /// The two are never matched again.
    pub(crate) block: bool,
}

/// What a complaint is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Category {
    Nudity,
    Harassment,
    Hate,
    Minor,
    Spam,
    Other,
}

impl Category {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Nudity => "nudity",
            Self::Harassment => "harassment",
            Self::Hate => "hate",
            Self::Minor => "minor",
            Self::Spam => "spam",
            Self::Other => "other",
        }
    }
}

/// One step of a negotiation.
#[derive(Debug)]
pub(crate) struct Signal {
    pub(crate) pair: Id,
    pub(crate) seq: u64,
    pub(crate) generation: u32,
    pub(crate) body: SignalBody,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum SignalBody {
    Description(Description),
    Candidates(Vec<Candidate>),
    End(bool),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum DescriptionType {
    Offer,
    Answer,
    Pranswer,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Description {
    #[serde(rename = "type")]
    pub(crate) kind: DescriptionType,
    #[serde(deserialize_with = "sdp")]
    pub(crate) sdp: String,
}

/// RTCIceCandidateInit.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct Candidate {
    #[serde(deserialize_with = "candidate")]
    pub(crate) candidate: String,
    #[serde(default, deserialize_with = "short_text::<64, _>")]
    pub(crate) sdp_mid: Option<String>,
    #[serde(default, rename = "sdpMLineIndex")]
    pub(crate) sdp_m_line_index: Option<u16>,
    #[serde(default, deserialize_with = "short_text::<256, _>")]
    pub(crate) username_fragment: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum CandidateType {
    Host,
    Srflx,
    Prflx,
    Relay,
    Unknown,
}

/// How a call went, as one side saw it.
#[derive(Debug, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case", deny_unknown_fields)]
pub(crate) enum PairStats {
    #[serde(rename_all = "camelCase")]
    Connected {
        pair: WireId,
        local: CandidateType,
        remote: CandidateType,
        relay_protocol: Option<RelayProtocol>,
        ttfm_ms: SafeInteger,
        rtt_ms: Option<SafeInteger>,
    },
    Failed {
        pair: WireId,
    },
}

impl PairStats {
    fn pair(&self) -> Id {
        match self {
            Self::Connected { pair, .. } | Self::Failed { pair } => pair.0,
        }
    }
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum RelayProtocol {
    Udp,
    Tcp,
    Tls,
}

/// An id in its 22 characters.
#[derive(Debug, Clone, Copy)]
pub(crate) struct WireId(pub(crate) Id);

impl Serialize for WireId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for WireId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Id::parse(&text).map(Self).ok_or_else(|| D::Error::custom("no id"))
    }
}

/// An integer from 0 that JSON carries safely.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SafeInteger(pub(crate) u64);

impl<'de> Deserialize<'de> for SafeInteger {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match u64::deserialize(deserializer)? {
            number @ 0..=MAX_SAFE => Ok(Self(number)),
            _ => Err(D::Error::custom("too large")),
        }
    }
}

impl<'de> Deserialize<'de> for Signal {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Raw {
            pair: WireId,
            seq: SafeInteger,
            #[serde(rename = "gen")]
            generation: u32,
            description: Option<Description>,
            candidates: Option<Vec<Candidate>>,
            end: Option<bool>,
        }
        let raw = Raw::deserialize(deserializer)?;
        let body = match (raw.description, raw.candidates, raw.end) {
            (Some(description), None, None) => SignalBody::Description(description),
            (None, Some(list), None) if (1..=MAX_CANDIDATES).contains(&list.len()) => {
                SignalBody::Candidates(list)
            }
            (None, None, Some(true)) => SignalBody::End(true),
            _ => return Err(D::Error::custom("one of description, candidates, end")),
        };
        match raw.seq.0 {
            0 => Err(D::Error::custom("seq counts from 1")),
            seq => Ok(Self { pair: raw.pair.0, seq, generation: raw.generation, body }),
        }
    }
}

fn mode<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Mode, D::Error> {
    match String::deserialize(deserializer)?.as_str() {
        "video" => Ok(Mode::Video),
        "text" => Ok(Mode::Text),
        _ => Err(D::Error::custom("no mode")),
    }
}

fn interests<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    let list = Vec::<String>::deserialize(deserializer)?;
    let fits = |text: &String| !text.trim().is_empty() && text.chars().count() <= MAX_INTEREST_CHARS;
    match list.len() <= MAX_INTERESTS && list.iter().all(fits) {
        true => Ok(list),
        false => Err(D::Error::custom("too many, too long or blank")),
    }
}

fn sdp<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let text = String::deserialize(deserializer)?;
    let starts = text.starts_with("v=0\r\n") || text.starts_with("v=0\n");
    let whole = starts && text.contains("\na=ice-ufrag:") && text.contains("\na=fingerprint:");
    match whole && text.len() <= MAX_SDP_BYTES {
        true => Ok(text),
        false => Err(D::Error::custom("no session description")),
    }
}

fn candidate<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let text = String::deserialize(deserializer)?;
    match text.starts_with("candidate:") && text.len() <= MAX_CANDIDATE_BYTES {
        true => Ok(text),
        false => Err(D::Error::custom("no candidate")),
    }
}

fn chat_id<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let id = String::deserialize(deserializer)?;
    match (1..=MAX_CHAT_ID_CHARS).contains(&id.chars().count()) {
        true => Ok(id),
        false => Err(D::Error::custom("no id of a message")),
    }
}

/// Words for the operator, without what a reader does not see.
fn note<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let note = String::deserialize(deserializer)?;
    match note.chars().count() <= MAX_NOTE_CHARS {
        true => Ok(note.chars().filter(|c| !hides(*c)).collect()),
        false => Err(D::Error::custom("too long")),
    }
}

/// What a reader does not see, or what would turn the text around it.
fn hides(c: char) -> bool {
    c.is_control() || matches!(c, '\u{202A}'..='\u{202E}' | '\u{2066}'..='\u{2069}')
}

/// Without what a reader does not see.
fn chat_text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let text = String::deserialize(deserializer)?;
    if text.len() > MAX_CHAT_BYTES {
        return Err(D::Error::custom("too long"));
    }
    let shown: String = text.chars().filter(|c| !hides(*c)).collect();
    match shown.trim().is_empty() {
        true => Err(D::Error::custom("nothing to read")),
        false => Ok(shown),
    }
}

fn short_text<'de, const MOST: usize, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<String>, D::Error> {
    let text = Option::<String>::deserialize(deserializer)?;
    match text.as_ref().is_none_or(|text| text.chars().count() <= MOST) {
        true => Ok(text),
        false => Err(D::Error::custom("too long")),
    }
}
