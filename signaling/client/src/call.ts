import { Chat } from "./chat.ts";
import type { Ice, Id, MatchFound, Privacy, SignalBody } from "./contract.ts";
import { Emitter } from "./emitter.ts";
import { framesDecoded, type Path, pathOf, type SelectedPair, selectedPair } from "./path.ts";
import { type LinkState, PeerLink } from "./peer-link.ts";
import type { Signaling } from "./signaling.ts";

export interface CallOptions {
  signaling: Signaling;
  found: MatchFound;
  /** What the partner sees and hears; a call of text alone has no connection of its own. */
  stream: MediaStream | undefined;
  privacy: Privacy;
}

export interface CallEvents {
  /** Something that the page shows is another now. */
  changed: undefined;
}

const LOOK_MS = { untilKnown: 200, afterwards: 3000 };
const REFRESH_AGAIN_MS = 10_000;

type Timer = ReturnType<typeof setTimeout>;

/** One pair: its connection, how its media travels, its credentials. */
export class Call extends Emitter<CallEvents> {
  readonly pair: Id;
  /** Interests that both named. */
  readonly common: string[];
  /** No relay can be had: only a direct call can work. */
  readonly relayUnavailable: boolean;
  readonly #signaling: Signaling;
  readonly #privacy: Privacy;
  readonly #link: PeerLink | undefined;
  readonly #chat: Chat;
  readonly #foundAt = performance.now();
  #remoteStream: MediaStream | undefined;
  #selected: SelectedPair | undefined;
  #firstFrameAt: number | undefined;
  #reported = "";
  #opened = false;
  #closed = false;
  #lookTimer: Timer | undefined;
  #refreshTimer: Timer | undefined;

  constructor({ signaling, found, stream, privacy }: CallOptions) {
    super();
    this.pair = found.pair;
    this.common = found.common;
    this.relayUnavailable = found.ice.warning === "relay_unavailable";
    this.#signaling = signaling;
    this.#privacy = privacy;
    this.#chat = new Chat(signaling, found.pair, () => {
      this.emit("changed", undefined);
    });
    if (stream === undefined) return;
    this.#link = new PeerLink({
      role: found.role,
      polite: found.polite,
      ice: this.#guarded(found.ice),
      stream,
      send: (body) => {
        signaling.signal(found.pair, body);
      },
    });
    this.#link.on("state", (state) => {
      this.#stateChanged(state);
    });
    this.#link.on("stream", (remote) => {
      this.#remoteStream = remote;
      this.emit("changed", undefined);
    });
    this.#refreshIn(found.ice.refreshAfter);
  }

  get state(): LinkState {
    return this.#link?.state ?? (this.#opened ? "connected" : "connecting");
  }

  /** Both sides have agreed to it. */
  get opened(): boolean {
    return this.#opened;
  }

  /** The text beside it. */
  get chat(): Chat {
    return this.#chat;
  }

  get remoteStream(): MediaStream | undefined {
    return this.#remoteStream;
  }

  get path(): Path | undefined {
    return this.#selected && pathOf(this.#selected);
  }

  /** When the first frame of the partner was decoded, on the clock of `performance.now`. */
  get firstFrameAt(): number | undefined {
    return this.#firstFrameAt;
  }

  /** Both sides agreed. */
  open(): void {
    this.#opened = true;
    this.#link?.open();
    this.emit("changed", undefined);
  }

  receive(body: SignalBody): void {
    this.#link?.receive(body);
  }

  /** A page that sees the first frame says so earlier than the statistics do. */
  frameDecoded(at: number): void {
    if (this.#firstFrameAt !== undefined) return;
    this.#firstFrameAt = at;
    this.emit("changed", undefined);
    if (this.state === "connected") void this.#look();
  }

  close(): void {
    this.#closed = true;
    clearTimeout(this.#lookTimer);
    clearTimeout(this.#refreshTimer);
    this.#chat.close();
    this.#link?.close();
  }

  /** Nobody relies on the server alone for what the user was promised. */
  #guarded(ice: Ice): Ice {
    return this.#privacy === "relay" ? { ...ice, iceTransportPolicy: "relay" } : ice;
  }

  #stateChanged(state: LinkState): void {
    if (state === "connected") void this.#look();
    if (state === "failed") {
      void this.#signaling.request("pair.stats", { pair: this.pair, state: "failed" });
    }
    this.emit("changed", undefined);
  }

  /** Reads the statistics now and again later: often until all is known, then seldom. */
  async #look(): Promise<void> {
    const report = await this.#link?.stats();
    if (this.#closed || report === undefined) return;
    const pathBefore = this.path;
    this.#selected = selectedPair(report) ?? this.#selected;
    if (this.path !== pathBefore) this.emit("changed", undefined);
    if (framesDecoded(report) > 0) this.frameDecoded(performance.now());
    this.#report();
    const known = this.#firstFrameAt !== undefined && this.#selected !== undefined;
    clearTimeout(this.#lookTimer);
    this.#lookTimer = setTimeout(
      () => void this.#look(),
      known ? LOOK_MS.afterwards : LOOK_MS.untilKnown,
    );
  }

  /** Tells the server the path once media flows, and again when ICE has chosen another. */
  #report(): void {
    const selected = this.#selected;
    if (selected === undefined || this.#firstFrameAt === undefined) return;
    const { local, remote, relayProtocol } = selected;
    const path = [local, remote, relayProtocol].join();
    if (path === this.#reported) return;
    this.#reported = path;
    const ttfmMs = Math.max(0, Math.round(this.#firstFrameAt - this.#foundAt));
    const stats = { pair: this.pair, state: "connected", ttfmMs, ...selected } as const;
    void this.#signaling.request("pair.stats", stats);
  }

  #refreshIn(seconds: number | undefined): void {
    if (seconds !== undefined) this.#refreshAfter(seconds * 1000);
  }

  #refreshAfter(ms: number): void {
    this.#refreshTimer = setTimeout(() => void this.#refresh(), ms);
  }

  async #refresh(): Promise<void> {
    const answer = await this.#signaling.request("ice.refresh", { pair: this.pair });
    if (this.#closed) return;
    if (!answer.ok) {
      this.#refreshAfter(REFRESH_AGAIN_MS);
      return;
    }
    this.#link?.refresh(this.#guarded(answer.ice));
    this.#refreshIn(answer.ice.refreshAfter);
  }
}
