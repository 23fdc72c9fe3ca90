import { CandidateBatch } from "./candidate-batch.ts";
import type { Candidate, Description, Ice, Role, SignalBody } from "./contract.ts";
import { Emitter } from "./emitter.ts";

export interface PeerLinkOptions {
  role: Role;
  polite: boolean;
  ice: Ice;
  /** What the partner sees and hears. */
  stream: MediaStream;
  /** Takes each step of the negotiation to the partner, in order. */
  send: (body: SignalBody) => void;
}

export type LinkState = "connecting" | "connected" | "reconnecting" | "failed";

export interface PeerLinkEvents {
  state: LinkState;
  stream: MediaStream;
}

/** How long `disconnected` may last before ICE is restarted. */
const RESTART_AFTER_MS = 2000;
/** How long a link may take to connect, at first and after it was lost. */
const CONNECT_WITHIN_MS = 20_000;

type Timer = ReturnType<typeof setTimeout>;

/**
 * One RTCPeerConnection with perfect negotiation.
 *
 * The initiator begins to gather at once; nothing is sent before `open`.
 */
export class PeerLink extends Emitter<PeerLinkEvents> {
  readonly #pc: RTCPeerConnection;
  readonly #role: Role;
  readonly #polite: boolean;
  readonly #send: (body: SignalBody) => void;
  readonly #candidates = new CandidateBatch((gen, candidates) => {
    this.#emitSignal({ gen, candidates });
  });
  #state: LinkState = "connecting";
  #closed = false;
  /** What waits for `open`. */
  #held: SignalBody[] | undefined = [];

  #gen = 0;
  #remoteGen = 0;
  #restartWanted = false;
  #makingOffer = false;
  #settingAnswer = false;
  #remoteCandidates: { gen: number; candidate: Candidate | null }[] = [];
  #inbox: Promise<void> = Promise.resolve();

  #restartTimer: Timer | undefined;
  #deadline: Timer | undefined;

  constructor(options: PeerLinkOptions) {
    super();
    this.#role = options.role;
    this.#polite = options.polite;
    this.#send = options.send;
    this.#pc = new RTCPeerConnection(toConfiguration(options.ice));
    this.#pc.onnegotiationneeded = () => void this.#negotiate();
    this.#pc.onicecandidate = ({ candidate }) => {
      this.#gathered(candidate);
    };
    this.#pc.onconnectionstatechange = () => {
      this.#connectionChanged();
    };
    this.#pc.ontrack = ({ track, streams }) => {
      this.emit("stream", streams[0] ?? new MediaStream([track]));
    };
    this.#addTracks(options.stream);
  }

  get state(): LinkState {
    return this.#state;
  }

  /** Both sides agreed: sends what was held back and begins to wait for the connection. */
  open(): void {
    const held = this.#held ?? [];
    this.#held = undefined;
    for (const body of held) this.#send(body);
    this.#candidates.flush();
    this.#startDeadline();
  }

  /** Takes one step of the partner; steps are applied in the order of the calls. */
  receive(body: SignalBody): void {
    this.#inbox = this.#inbox
      .then(() => this.#apply(body))
      .catch(() => {
        this.#fail();
      });
  }

  /** Puts fresh credentials in place without a restart. */
  refresh(ice: Ice): void {
    if (!this.#closed) this.#pc.setConfiguration(toConfiguration(ice));
  }

  /** Looks for a new path; only the initiator does, so that both sides do not at once. */
  restart(): void {
    if (this.#closed || this.#role !== "initiator") return;
    this.#restartWanted = true;
    this.#pc.restartIce();
  }

  /** The statistics of the connection. */
  stats(): Promise<RTCStatsReport> {
    return this.#pc.getStats();
  }

  close(): void {
    this.#closed = true;
    clearTimeout(this.#restartTimer);
    clearTimeout(this.#deadline);
    this.#candidates.close();
    this.#pc.onnegotiationneeded = null;
    this.#pc.onicecandidate = null;
    this.#pc.onconnectionstatechange = null;
    this.#pc.ontrack = null;
    this.#pc.close();
  }

  /** Audio and video are always negotiated, so that a side without a microphone still hears. */
  #addTracks(stream: MediaStream): void {
    for (const kind of ["audio", "video"] as const) {
      const track = stream.getTracks().find((candidate) => candidate.kind === kind);
      if (track !== undefined) this.#pc.addTrack(track, stream);
      else if (this.#role === "initiator") this.#pc.addTransceiver(kind, { direction: "recvonly" });
    }
  }

  async #negotiate(): Promise<void> {
    const mayOffer = this.#role === "initiator" || this.#pc.remoteDescription !== null;
    if (this.#closed || !mayOffer) return;
    this.#makingOffer = true;
    if (this.#restartWanted) this.#gen += 1;
    this.#restartWanted = false;
    try {
      await this.#pc.setLocalDescription();
      this.#sendLocalDescription();
    } catch {
      this.#fail();
    } finally {
      this.#makingOffer = false;
    }
  }

  async #apply(body: SignalBody): Promise<void> {
    if (this.#closed) return;
    if ("description" in body) {
      await this.#applyDescription(body.gen, body.description);
    } else if ("candidates" in body) {
      for (const candidate of body.candidates) await this.#addCandidate(body.gen, candidate);
    } else {
      await this.#addCandidate(body.gen, null);
    }
  }

  async #applyDescription(gen: number, description: Description): Promise<void> {
    if (gen < this.#remoteGen) return;
    const pc = this.#pc;
    if (description.type !== "offer" && this.#isLate(gen)) return;
    const readyForOffer =
      !this.#makingOffer && (pc.signalingState === "stable" || this.#settingAnswer);
    if (description.type === "offer" && !readyForOffer && !this.#polite) return;

    this.#settingAnswer = description.type === "answer";
    await pc.setRemoteDescription(description).finally(() => {
      this.#settingAnswer = false;
    });
    this.#remoteGen = gen;
    if (description.type === "offer") {
      this.#gen = Math.max(this.#gen, gen);
      await pc.setLocalDescription();
      this.#sendLocalDescription();
    }
    await this.#addBuffered();
  }

  /** An answer counts only while the offer that it belongs to is open. */
  #isLate(gen: number): boolean {
    const { signalingState } = this.#pc;
    const awaited =
      signalingState === "have-local-offer" || signalingState === "have-remote-pranswer";
    return !awaited || gen !== this.#gen;
  }

  async #addCandidate(gen: number, candidate: Candidate | null): Promise<void> {
    if (gen < this.#remoteGen) return;
    if (gen > this.#remoteGen || this.#pc.remoteDescription === null) {
      this.#remoteCandidates.push({ gen, candidate });
      return;
    }
    try {
      await this.#pc.addIceCandidate(candidate);
    } catch {
      // One candidate less: it belongs to an offer that was ignored, or to a part that was rejected.
    }
  }

  async #addBuffered(): Promise<void> {
    const buffered = this.#remoteCandidates;
    this.#remoteCandidates = [];
    for (const { gen, candidate } of buffered) await this.#addCandidate(gen, candidate);
  }

  #sendLocalDescription(): void {
    const description = this.#pc.localDescription;
    if (this.#closed || description === null || description.type === "rollback") return;
    const { type, sdp } = description;
    this.#emitSignal({ gen: this.#gen, description: { type, sdp } });
  }

  #gathered(candidate: RTCIceCandidate | null): void {
    if (candidate === null) {
      this.#candidates.flush();
      this.#emitSignal({ gen: this.#gen, end: true });
    } else if (candidate.candidate !== "") {
      this.#candidates.add(this.#gen, candidate);
    }
  }

  #emitSignal(body: SignalBody): void {
    if (this.#held === undefined) this.#send(body);
    else this.#held.push(body);
  }

  #connectionChanged(): void {
    clearTimeout(this.#restartTimer);
    switch (this.#pc.connectionState) {
      case "connected":
        clearTimeout(this.#deadline);
        this.#deadline = undefined;
        this.#enter("connected");
        break;
      case "disconnected":
        this.#lost(RESTART_AFTER_MS);
        break;
      case "failed":
        this.#lost(0);
        break;
    }
  }

  #lost(restartAfterMs: number): void {
    if (this.#state === "connected") this.#enter("reconnecting");
    this.#startDeadline();
    this.#restartTimer = setTimeout(() => {
      this.restart();
    }, restartAfterMs);
  }

  #startDeadline(): void {
    this.#deadline ??= setTimeout(() => {
      this.#fail();
    }, CONNECT_WITHIN_MS);
  }

  #fail(): void {
    if (!this.#closed) this.#enter("failed");
  }

  #enter(state: LinkState): void {
    if (state === this.#state || this.#state === "failed") return;
    this.#state = state;
    this.emit("state", state);
  }
}

function toConfiguration({ iceServers, iceTransportPolicy, bundlePolicy }: Ice): RTCConfiguration {
  return { iceServers, iceTransportPolicy, bundlePolicy };
}
