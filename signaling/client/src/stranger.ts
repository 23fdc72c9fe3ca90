import { Call } from "./call.ts";
import type { Line } from "./chat.ts";
import type {
  Id,
  MatchEnded,
  MatchFound,
  Mode,
  Notice,
  Privacy,
  Report,
  SessionResumed,
} from "./contract.ts";
import { MediaUnavailable } from "./media.ts";
import { OwnMedia, stopTracks } from "./own-media.ts";
import { Signaling, type SignalingOptions } from "./signaling.ts";
import type { Failure, News, Phase, Snapshot } from "./snapshot.ts";

/** Whom to look for, and how. */
export interface Wishes {
  /** Face to face, or in writing, which needs no camera. */
  mode: Mode;
  /** At most 10, of at most 30 characters each. */
  interests: string[];
  privacy: Privacy;
}

const NEWS_OF: Record<MatchEnded["reason"], News | undefined> = {
  next: "partner_next",
  left: "partner_left",
  lost: "partner_lost",
  expired: undefined,
  reported: "partner_banned",
  quota: "quota_spent",
  admin: "ended_by_operator",
  drain: "draining",
};

const NO_LINES: readonly Line[] = [];

/** The server takes reports for a minute after the end; some of it is for the way. */
const REPORTABLE_MS = 55_000;

/** A draining node comes back, or another takes over, within some seconds. */
const DRAINED_MS = { after: 3000, spread: 3000 };

/**
 * Talks to one stranger after another.
 *
 * Holds the socket, the camera and the call; a page only subscribes and shows `snapshot`.
 */
export class Stranger {
  readonly #signaling: Signaling;
  readonly #media = new OwnMedia(() => {
    this.#fail("camera_lost");
  });
  readonly #listeners = new Set<() => void>();
  #snapshot: Snapshot;
  #wishes: Wishes = { mode: "video", interests: [], privacy: "all" };
  #live = false;
  /** Counts starts and stops, so that what was begun before is known to be stale. */
  #run = 0;
  #greeted = false;
  #ended = false;
  #failure: Failure | undefined;
  #news: News | undefined;
  #call: Call | undefined;
  #partnerAway = false;
  /** The last pair that had started, and until when it can be reported. */
  #met: Id | undefined;
  #metTimer: ReturnType<typeof setTimeout> | undefined;
  #startedAt = 0;
  #firstFrameMs: number | undefined;
  #drained: ReturnType<typeof setTimeout> | undefined;

  constructor(options: SignalingOptions) {
    const signaling = new Signaling(options);
    this.#signaling = signaling;
    signaling.on("hello", () => {
      this.#greet();
    });
    signaling.on("session.resumed", ({ state }) => {
      this.#resumed(state);
    });
    signaling.on("peer.state", ({ pair, state }) => {
      if (this.#callOf(pair) === undefined) return;
      this.#partnerAway = state === "reconnecting";
      this.#publish();
    });
    signaling.on("down", () => {
      this.#publish();
    });
    signaling.on("unreachable", () => {
      this.#unreachable();
    });
    signaling.on("outdated", () => {
      this.#fail("page_outdated");
    });
    signaling.on("banned", () => {
      this.#fail("banned");
    });
    signaling.on("match.found", (found) => {
      this.#found(found);
    });
    signaling.on("match.start", ({ pair }) => {
      this.#callOf(pair)?.open();
    });
    signaling.on("signal", (signal) => {
      this.#callOf(signal.pair)?.receive(signal);
    });
    signaling.on("chat.message", ({ pair, id, text }) => {
      this.#callOf(pair)?.chat.heard(id, text);
    });
    signaling.on("chat.typing", ({ pair, on }) => {
      this.#callOf(pair)?.chat.heardTyping(on);
    });
    signaling.on("match.ended", (ended) => {
      this.#matchEnded(ended);
    });
    signaling.on("notice", (notice) => {
      this.#noticed(notice);
    });
    this.#snapshot = this.#look();
  }

  /** What to show now; the same object until something changes. */
  get snapshot(): Snapshot {
    return this.#snapshot;
  }

  /** Calls the listener after each change; returns what removes it. */
  subscribe(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => {
      this.#listeners.delete(listener);
    };
  }

  /**
   * Opens camera and socket at the same time and looks for a partner as soon as both are there.
   *
   * The session owns the stream and stops its tracks in the end. For text no camera is opened. Does nothing while one is
   * live.
   */
  async start(openMedia: () => Promise<MediaStream>, wishes: Wishes): Promise<void> {
    if (this.#live) return;
    const run = ++this.#run;
    this.#live = true;
    this.#wishes = wishes;
    this.#startedAt = performance.now();
    this.#failure = this.#news = this.#firstFrameMs = undefined;
    this.#greeted = this.#ended = false;
    this.#signaling.connect();
    this.#publish();
    if (wishes.mode === "text") return;
    try {
      const stream = await openMedia();
      if (run !== this.#run) {
        stopTracks(stream);
        return;
      }
      this.#media.take(stream);
      void this.#join();
      this.#publish();
    } catch (error) {
      if (run === this.#run) this.#fail(problemOf(error));
    }
  }

  /** Leaves the partner, if there is one, and looks for another. */
  next(): void {
    if (!this.#live || this.#failure !== undefined) return;
    const left = this.#call?.pair;
    this.#ended = false;
    this.#news = undefined;
    this.#hangUp();
    if (left === undefined) void this.#join();
    else void this.#leaveFor(left);
    this.#publish();
  }

  /** Ends the session; camera and socket are closed. */
  stop(): void {
    if (!this.#live) return;
    this.#failure = this.#news = undefined;
    this.#close();
    this.#publish();
  }

  /** Changes the wishes: at once while waiting, else for the next partner. The mode of a live session stays. */
  update(wishes: Wishes): void {
    this.#wishes = this.#live ? { ...wishes, mode: this.#wishes.mode } : wishes;
    void this.#join();
    this.#publish();
  }

  /**
   * Reports the partner of now, who is then left for another, or the last one, up to a minute after the end.
   *
   * False when the server did not take it.
   */
  async report(report: Omit<Report, "pair">): Promise<boolean> {
    const pair = this.#met;
    if (pair === undefined) return false;
    const { ok } = await this.#signaling.request("report", { pair, ...report });
    if (this.#met === pair) this.#forget();
    if (ok && this.#callOf(pair) !== undefined) this.next();
    if (ok && this.#live) this.#news = "report_sent";
    this.#publish();
    return ok;
  }

  /** Writes a line to the partner. */
  say(text: string): void {
    void this.#call?.chat.say(text);
  }

  /** Tells the partner that the user writes, or has stopped. */
  typing(on: boolean): void {
    this.#call?.chat.typing(on);
  }

  setMicrophone(on: boolean): void {
    this.#media.microphone = on;
    this.#publish();
  }

  setCamera(on: boolean): void {
    this.#media.camera = on;
    this.#publish();
  }

  /** A page that shows the remote stream reports its first frame, on the clock of `performance.now`. */
  frameDecoded(stream: MediaStream, at: number): void {
    if (stream === this.#call?.remoteStream) this.#call.frameDecoded(at);
  }

  /** A greeting means a new session: whatever pair there was is gone on the server. */
  #greet(): void {
    if (!this.#ended) this.#news = this.#call && "partner_lost";
    this.#hangUp();
    this.#greeted = true;
    this.#failure = undefined;
    void this.#join();
    this.#publish();
  }

  /** What was missed is told behind this. */
  #resumed(state: SessionResumed["state"]): void {
    if (this.#news === "draining") this.#news = undefined;
    clearTimeout(this.#drained);
    this.#drained = undefined;
    this.#greeted = true;
    if (state === "idle") void this.#join();
    this.#publish();
  }

  #unreachable(): void {
    if (!this.#greeted) this.#failure = "server_unreachable";
    this.#publish();
  }

  /** Joins the queue when nothing stands against it; what is sent twice is an update. */
  async #join(): Promise<void> {
    const searching = this.#ready() && this.#call === undefined && !this.#ended;
    const { session } = this.#signaling;
    if (!searching || session === undefined) return;
    const answer = await this.#signaling.request("queue.join", this.#queueJoin());
    if (answer.ok || session !== this.#signaling.session) return;
    if (answer.code === "draining" && this.#drained === undefined) {
      this.#comeBack(DRAINED_MS.after + Math.random() * DRAINED_MS.spread);
    }
  }

  async #leaveFor(pair: Id): Promise<void> {
    const answer = await this.#signaling.request("match.next", { pair, join: this.#queueJoin() });
    if (!answer.ok) await this.#join();
  }

  #queueJoin() {
    return this.#wishes;
  }

  /** Whatever it needs of the user is there. */
  #ready(): boolean {
    return this.#wishes.mode === "text" || this.#media.stream !== undefined;
  }

  #found(found: MatchFound): void {
    this.#hangUp();
    const { stream } = this.#media;
    if (!this.#ready() || this.#ended) return;
    const { mode, privacy } = this.#wishes;
    if (mode === "video" && privacy === "relay" && found.ice.warning === "relay_unavailable") {
      this.#giveUp(found.pair, "relay_unavailable");
      return;
    }
    const call = new Call({ signaling: this.#signaling, found, stream, privacy });
    this.#call = call;
    call.on("changed", () => {
      this.#callChanged(call);
    });
    void this.#signaling.request("match.accept", { pair: found.pair });
    this.#publish();
  }

  #callOf(pair: Id): Call | undefined {
    return this.#call?.pair === pair ? this.#call : undefined;
  }

  #callChanged(call: Call): void {
    if (call !== this.#call) return;
    if (call.state === "connected") this.#news = undefined;
    if (call.opened && this.#met !== call.pair) {
      this.#forget();
      this.#met = call.pair;
    }
    if (call.firstFrameAt !== undefined) {
      this.#firstFrameMs ??= Math.round(call.firstFrameAt - this.#startedAt);
    }
    if (call.state === "failed") {
      this.#giveUp(call.pair, call.relayUnavailable ? "relay_unavailable" : "call_failed");
    } else {
      this.#publish();
    }
  }

  #giveUp(pair: Id, news: News): void {
    this.#ended = true;
    this.#news = news;
    this.#hangUp();
    void this.#signaling.request("match.leave", { pair });
    this.#publish();
  }

  #matchEnded({ pair, reason, state }: MatchEnded): void {
    if (this.#callOf(pair) !== undefined) {
      this.#hangUp();
      this.#news = NEWS_OF[reason] ?? this.#news;
    }
    if (state === "idle") void this.#join();
    this.#publish();
  }

  #noticed({ reconnectInMs }: Notice): void {
    this.#comeBack(reconnectInMs);
  }

  /** Takes a new socket later, unless a call is on by then: its end asks again. */
  #comeBack(ms: number): void {
    this.#news = "draining";
    clearTimeout(this.#drained);
    this.#drained = setTimeout(() => {
      this.#drained = undefined;
      if (this.#call === undefined) this.#signaling.reconnect();
    }, ms);
    this.#publish();
  }

  #fail(failure: Failure): void {
    this.#close();
    this.#failure = failure;
    this.#publish();
  }

  #close(): void {
    this.#run += 1;
    this.#live = false;
    clearTimeout(this.#drained);
    this.#drained = undefined;
    this.#hangUp();
    this.#forget();
    this.#signaling.close();
    this.#media.close();
  }

  #hangUp(): void {
    this.#partnerAway = false;
    if (this.#call !== undefined && this.#call.pair === this.#met) {
      clearTimeout(this.#metTimer);
      this.#metTimer = setTimeout(() => {
        this.#forget();
        this.#publish();
      }, REPORTABLE_MS);
    }
    this.#call?.close();
    this.#call = undefined;
  }

  #forget(): void {
    clearTimeout(this.#metTimer);
    this.#met = undefined;
  }

  #phase(): Phase {
    if (this.#failure !== undefined) return "error";
    if (!this.#live) return "idle";
    if (this.#ended) return "ended";
    if (this.#serverAway() && this.#call?.state !== "connected") return "reconnecting";
    switch (this.#call?.state) {
      case undefined:
      case "failed":
        return this.#ready() && this.#greeted ? "waiting" : "starting";
      case "connecting":
      case "connected":
      case "reconnecting":
        return this.#call.state;
    }
  }

  #serverAway(): boolean {
    return this.#live && this.#greeted && !this.#signaling.live;
  }

  #look(): Snapshot {
    const call = this.#call;
    return {
      phase: this.#phase(),
      live: this.#live,
      failure: this.#failure,
      news: this.#news,
      serverAway: this.#serverAway(),
      partnerAway: this.#partnerAway,
      pair: call?.pair,
      mode: this.#wishes.mode,
      reportable: this.#met !== undefined,
      lines: call?.chat.lines ?? NO_LINES,
      partnerTyping: call?.chat.partnerTyping ?? false,
      common: call?.common ?? [],
      path: call?.path,
      relayUnavailable: call?.relayUnavailable ?? false,
      localStream: this.#media.stream,
      remoteStream: call?.remoteStream,
      microphone: this.#media.microphone,
      camera: this.#media.camera,
      firstFrameMs: this.#firstFrameMs,
    };
  }

  #publish(): void {
    this.#snapshot = this.#look();
    for (const listener of [...this.#listeners]) listener();
  }
}

function problemOf(error: unknown): Failure {
  return error instanceof MediaUnavailable ? error.problem : "camera_busy";
}
