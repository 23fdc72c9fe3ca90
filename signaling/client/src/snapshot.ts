import type { Line } from "./chat.ts";
import type { Id, Mode } from "./contract.ts";
import type { MediaProblem } from "./media.ts";
import type { Path } from "./path.ts";

/**
 * Where a session is.
 *
 * `starting`: camera and server; `connecting`: a partner is found; `reconnecting`: the way to the partner, or to the
 * server while there is no call, is lost for now; `ended`: waits for `next`; `error`: see `failure`.
 */
export type Phase =
  "idle" | "starting" | "waiting" | "connecting" | "connected" | "reconnecting" | "ended" | "error";

/** What keeps a session from going on; only `server_unreachable` heals by itself. */
export type Failure =
  MediaProblem | "camera_lost" | "server_unreachable" | "page_outdated" | "banned";

/** What happened last that the user should hear of. */
export type News =
  | "partner_next"
  | "partner_left"
  | "partner_lost"
  | "call_failed"
  | "relay_unavailable"
  | "partner_banned"
  | "quota_spent"
  | "ended_by_operator"
  | "report_sent"
  | "draining";

/** All that a page shows; a new object after every change. */
export interface Snapshot {
  readonly phase: Phase;
  /** Whether `stop` has something to stop. */
  readonly live: boolean;
  readonly failure: Failure | undefined;
  readonly news: News | undefined;
  /** The socket to the server is lost for now; a call goes on without. */
  readonly serverAway: boolean;
  /** The partner has lost its socket for now; the call goes on without. */
  readonly partnerAway: boolean;
  readonly pair: Id | undefined;
  /** Of the wishes; `text` needs no camera. */
  readonly mode: Mode;
  /** Whether there is a partner, of now or of the last minute, whom `report` would be about. */
  readonly reportable: boolean;
  /** The text of this pair. */
  readonly lines: readonly Line[];
  readonly partnerTyping: boolean;
  /** Interests that both named. */
  readonly common: readonly string[];
  readonly path: Path | undefined;
  /** No relay can be had for this pair: only a direct call can work. */
  readonly relayUnavailable: boolean;
  readonly localStream: MediaStream | undefined;
  readonly remoteStream: MediaStream | undefined;
  readonly microphone: boolean;
  readonly camera: boolean;
  /** Milliseconds from `start` to the first decoded frame of a partner. */
  readonly firstFrameMs: number | undefined;
}
