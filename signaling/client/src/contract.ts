/** 128 random bits in base64url. */
export type Id = string;

/** Whether this side's address may be shown to the partner; `relay` is enforced by the server. */
export type Privacy = "all" | "relay";

export type Role = "initiator" | "responder";

export type Mode = "video" | "text";

export interface QueueJoin {
  mode: Mode;
  interests: string[];
  privacy: Privacy;
}

/** What `new RTCPeerConnection()` takes, with the life of the credential in it. */
export interface Ice {
  iceServers: IceServer[];
  iceTransportPolicy: "all" | "relay";
  bundlePolicy: "max-bundle";
  /** Seconds the credential lives; only with TURN. */
  ttl?: number;
  /** Unix seconds; only with TURN. */
  expiresAt?: number;
  /** Seconds from now after which a fresh configuration should be asked for; only with TURN. */
  refreshAfter?: number;
  /** TURN was left out for this reason; a direct call still works. */
  warning?: "relay_unavailable";
}

export interface IceServer {
  urls: string[];
  username?: string;
  credential?: string;
}

export interface Description {
  type: "offer" | "answer" | "pranswer";
  sdp: string;
}

export interface Candidate {
  candidate: string;
  sdpMid?: string | null;
  sdpMLineIndex?: number | null;
  usernameFragment?: string | null;
}

/** One step of the negotiation, without the pair and the counter around it. */
export type SignalBody = { gen: number } & (
  { description: Description } | { candidates: Candidate[] } | { end: true }
);

export type Signal = { pair: Id; seq: number } & SignalBody;

export type CandidateType = "host" | "srflx" | "prflx" | "relay" | "unknown";

export interface ConnectedStats {
  pair: Id;
  state: "connected";
  local: CandidateType;
  remote: CandidateType;
  relayProtocol?: "udp" | "tcp" | "tls";
  /** Milliseconds from `match.found` to the first media. */
  ttfmMs: number;
  rttMs?: number;
}

export interface FailedStats {
  pair: Id;
  state: "failed";
}

export interface ChatLine {
  pair: Id;
  /** Of the sender's own making. */
  id: string;
  /** At most 2048 bytes of UTF-8. */
  text: string;
}

export interface Typing {
  pair: Id;
  on: boolean;
}

/** What a report is about. */
export type Category = "nudity" | "harassment" | "hate" | "minor" | "spam" | "other";

/** A complaint about a partner, of now or of the last minute. */
export interface Report {
  pair: Id;
  category: Category;
  /** For the operator; at most 500 characters. */
  note?: string;
  /** The two are never matched again. */
  block: boolean;
}

export interface ClientEvents {
  "queue.join": QueueJoin;
  "queue.leave": Empty;
  "match.accept": { pair: Id };
  "match.next": { pair: Id; join?: QueueJoin };
  "match.leave": { pair: Id };
  signal: Signal;
  "chat.send": ChatLine;
  "chat.typing": Typing;
  "pair.stats": ConnectedStats | FailedStats;
  "ice.refresh": { pair?: Id };
  report: Report;
  bye: Empty;
}

export type Empty = Record<string, never>;

export interface Limits {
  interests: number;
  interestChars: number;
  sdpBytes: number;
  candidateBytes: number;
  candidatesPerGeneration: number;
  eventsPerSecond: number;
  eventBurst: number;
  nextPerSecond: number;
  nextBurst: number;
  /** Where the relay's budget is, if it has one; at `stop` nobody is given TURN. */
  budget?: "ok" | "warn" | "degrade" | "stop";
}

/** The auth object of CONNECT. */
export interface ConnectAuth {
  v: 1;
  /** Goes on with a session whose socket was lost. */
  resume?: { id: Id; lastSeq: number };
  /** A secret that this browser keeps: blocks and bans go by it. */
  device?: Id;
  client?: string;
}

export interface Hello {
  seq: number;
  session: Id;
  /** Names this session in the CONNECT of another socket. */
  resume: Id;
  /** Seconds that this session lives without a socket. */
  resumeTtl: number;
  /** Bearer of `GET /v1/ice`. */
  token: Id;
  /** STUN only: TURN credentials are minted for a pair. */
  ice: Ice;
  limits: Limits;
  online: number;
  node: string;
}

/** The session goes on; what was missed follows. */
export interface SessionResumed {
  /** Not counted: that of the last event which the client has told of. */
  seq: number;
  /** What this session is, once what was missed is known. */
  state: "idle" | "waiting" | "offered" | "active";
  pair?: Id;
  /** The `seq` of the last signal that was taken, 0 before the first. */
  lastClientSeq: number;
}

export interface QueueState {
  seq: number;
  state: "waiting";
  /** Unix milliseconds of the first join. */
  since: number;
  /** Interests no longer matter. */
  widened: boolean;
}

export interface MatchFound {
  seq: number;
  pair: Id;
  role: Role;
  polite: boolean;
  common: string[];
  ice: Ice;
  deadlineMs: number;
}

export interface MatchStart {
  seq: number;
  pair: Id;
}

/** The partner's socket is lost, or back; media needs none. */
export interface PeerState {
  seq: number;
  pair: Id;
  state: "reconnecting" | "back";
  /** How long the pair waits for it. */
  graceMs: number;
}

export interface MatchEnded {
  seq: number;
  pair: Id;
  reason: "next" | "left" | "lost" | "expired" | "reported" | "quota" | "admin" | "drain";
  /** What this session is now; `waiting`: the server has put it into the queue already. */
  state: "idle" | "waiting";
}

export interface Notice {
  seq: number;
  kind: "draining";
  reconnectInMs: number;
}

export interface ServerEvents {
  hello: Hello;
  "session.resumed": SessionResumed;
  "queue.state": QueueState;
  "match.found": MatchFound;
  "match.start": MatchStart;
  signal: Signal;
  "chat.message": ChatLine & { seq: number };
  "chat.typing": Typing & { seq: number };
  "peer.state": PeerState;
  "match.ended": MatchEnded;
  notice: Notice;
}

/** The closed table of codes in acknowledgements and in a refused CONNECT. */
export type ErrorCode =
  | "bad_request"
  | "unknown_event"
  | "rate_limited"
  | "out_of_order"
  | "stale_generation"
  | "not_in_pair"
  | "wrong_state"
  | "not_initiator"
  | "draining"
  | "unsupported_version"
  | "overloaded"
  | "banned";

export interface Refused {
  ok: false;
  code: ErrorCode;
  /** With `rate_limited`. */
  retryAfterMs?: number;
  /** With `out_of_order`. */
  expectedSeq?: number;
}

export interface Done {
  ok: true;
}

export interface Acks {
  "queue.join": Done | Refused;
  "queue.leave": { ok: true; result: "left" | "ended" | "none" } | Refused;
  "match.accept": Done | Refused;
  "match.next": Done | Refused;
  "match.leave": Done | Refused;
  signal: { ok: true; duplicate?: true } | Refused;
  "chat.send": { ok: true; duplicate?: true } | Refused;
  "chat.typing": Done | Refused;
  "pair.stats": Done | Refused;
  "ice.refresh": { ok: true; ice: Ice } | Refused;
  report: { ok: true; duplicate?: true } | Refused;
  bye: Done | Refused;
}

/** The closed table of codes in problem details. */
export type ProblemCode =
  | "bad_request"
  | "unauthorized"
  | "forbidden"
  | "not_found"
  | "method_not_allowed"
  | "payload_too_large"
  | "unsupported_media_type"
  | "rate_limited"
  | "too_many_sockets"
  | "origin_not_allowed"
  | "relay_unavailable"
  | "not_kept"
  | "internal";

/** RFC 9457. */
export interface Problem {
  type: string;
  title: string;
  status: number;
  detail: string;
  code: ProblemCode;
}
