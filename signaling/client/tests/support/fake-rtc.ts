import { onTestFinished, vi } from "vitest";

interface Description {
  type: RTCSdpType;
  sdp: string;
}
interface Waiting {
  run: () => unknown;
  done: (value: unknown) => void;
  failed: (e: unknown) => void;
}

/**
 * The signaling half of RTCPeerConnection: states, the chain of operations, implicit descriptions,
 * rollback, and the check whether a negotiation is needed. It carries no media.
 */
export class FakePeerConnection {
  static all: FakePeerConnection[] = [];

  signalingState: RTCSignalingState = "stable";
  connectionState: RTCPeerConnectionState = "new";
  localDescription: Description | null = null;
  remoteDescription: Description | null = null;
  readonly added: (string | null)[] = [];
  readonly offered: string[] = [];
  readonly configurations: RTCConfiguration[];
  report = new Map<string, object>();

  onnegotiationneeded: (() => void) | null = null;
  onicecandidate: ((event: { candidate: unknown }) => void) | null = null;
  onconnectionstatechange: (() => void) | null = null;
  ontrack: ((event: unknown) => void) | null = null;

  readonly name: string;
  #operations: Waiting[] = [];
  #busy = false;
  /** What is not negotiated yet, and what of it the open offer holds. */
  readonly #needs = new Set<string>();
  #inOffer = new Set<string>();
  #fired = false;
  #stable: { local: Description | null; remote: Description | null };
  #generation = 0;
  #versions = 0;

  constructor(configuration: RTCConfiguration) {
    this.configurations = [configuration];
    this.name = `pc${FakePeerConnection.all.length}`;
    this.#stable = { local: null, remote: null };
    FakePeerConnection.all.push(this);
  }

  addTrack(track: { kind: string }): void {
    this.#need(track.kind);
  }

  addTransceiver(kind: string): void {
    this.#need(kind);
  }

  restartIce(): void {
    this.#generation += 1;
    this.#need("restart");
  }

  setConfiguration(configuration: RTCConfiguration): void {
    this.configurations.push(configuration);
  }

  getStats(): Promise<Map<string, object>> {
    return Promise.resolve(this.report);
  }

  setLocalDescription(): Promise<unknown> {
    return this.#chain(() => {
      const answers = this.signalingState === "have-remote-offer";
      const origin = `o=${this.name} gen${this.#generation} version${++this.#versions}`;
      const sdp = `v=0\r\n${origin}\r\na=ice-ufrag:F7gI\r\na=fingerprint:sha-256 49:66\r\n`;
      this.localDescription = { type: answers ? "answer" : "offer", sdp };
      if (!answers) this.offered.push(sdp);
      this.#become(answers ? "stable" : "have-local-offer");
    });
  }

  setRemoteDescription(description: Description): Promise<unknown> {
    return this.#chain(() => {
      if (description.type === "offer" && this.signalingState === "have-local-offer") {
        this.localDescription = this.#stable.local;
        this.signalingState = "stable";
      }
      const expected = description.type === "offer" ? "stable" : "have-local-offer";
      if (this.signalingState !== expected) {
        throw new Error(`InvalidStateError: wrong state: ${this.signalingState}`);
      }
      this.remoteDescription = description;
      this.#become(description.type === "offer" ? "have-remote-offer" : "stable");
    });
  }

  addIceCandidate(candidate: { candidate: string } | null): Promise<unknown> {
    return this.#chain(() => {
      if (this.remoteDescription === null) throw new Error("InvalidStateError: no description");
      this.added.push(candidate?.candidate ?? null);
    });
  }

  close(): void {
    this.signalingState = "closed";
    this.connectionState = "closed";
  }

  /** What a page does when it adds a track in the middle of a call. */
  renegotiate(): void {
    this.#need("track");
  }

  gather(candidate: Partial<RTCIceCandidate> | null): void {
    this.onicecandidate?.({ candidate });
  }

  connection(state: RTCPeerConnectionState): void {
    this.connectionState = state;
    this.onconnectionstatechange?.();
  }

  #need(what: string): void {
    this.#needs.add(what);
    this.#checkNeeded();
  }

  #become(state: RTCSignalingState): void {
    this.signalingState = state;
    if (state === "have-local-offer") this.#inOffer = new Set(this.#needs);
    if (state !== "stable") return;
    this.#stable = { local: this.localDescription, remote: this.remoteDescription };
    const agreed = this.localDescription?.type === "offer" ? this.#inOffer : ["audio", "video"];
    for (const need of agreed) this.#needs.delete(need);
    this.#fired = false;
    this.#checkNeeded();
  }

  /** Fires in a later task, and only while the chain is empty. */
  #checkNeeded(): void {
    if (this.#fired || this.signalingState !== "stable" || this.#needs.size === 0) return;
    this.#fired = true;
    setTimeout(() => {
      if (this.#busy || this.signalingState !== "stable") {
        this.#fired = false;
        return;
      }
      this.onnegotiationneeded?.();
    }, 0);
  }

  #chain(run: () => unknown): Promise<unknown> {
    return new Promise((done, failed) => {
      this.#operations.push({ run, done, failed });
      if (!this.#busy) this.#next();
    });
  }

  #next(): void {
    const operation = this.#operations.shift();
    this.#busy = operation !== undefined;
    if (operation === undefined) {
      this.#checkNeeded();
      return;
    }
    setTimeout(() => {
      if (this.signalingState === "closed") return;
      try {
        operation.done(operation.run());
      } catch (error) {
        operation.failed(error);
      }
      this.#next();
    }, 1);
  }
}

export function useFakeRtc(): void {
  FakePeerConnection.all = [];
  vi.stubGlobal("RTCPeerConnection", FakePeerConnection);
  vi.stubGlobal("MediaStream", FakeStream);
  onTestFinished(() => {
    vi.unstubAllGlobals();
  });
}

export class FakeStream {
  readonly tracks: FakeTrack[];

  constructor(tracks: FakeTrack[] = [new FakeTrack("audio"), new FakeTrack("video")]) {
    this.tracks = tracks;
  }

  getTracks(): FakeTrack[] {
    return this.tracks;
  }

  getAudioTracks(): FakeTrack[] {
    return this.tracks.filter(({ kind }) => kind === "audio");
  }

  getVideoTracks(): FakeTrack[] {
    return this.tracks.filter(({ kind }) => kind === "video");
  }
}

export class FakeTrack {
  enabled = true;
  stopped = false;
  onended: (() => void) | null = null;
  readonly kind: string;

  constructor(kind: string) {
    this.kind = kind;
  }

  stop(): void {
    this.stopped = true;
  }
}

export function fakeStream(tracks?: FakeTrack[]): MediaStream & FakeStream {
  return new FakeStream(tracks) as unknown as MediaStream & FakeStream;
}

/** What getStats says of a connected call. */
export function connectedReport(
  local: string,
  remote: string,
  frames: number,
): Map<string, object> {
  return new Map<string, object>([
    ["T", { type: "transport", selectedCandidatePairId: "P" }],
    [
      "P",
      {
        type: "candidate-pair",
        localCandidateId: "L",
        remoteCandidateId: "R",
        currentRoundTripTime: 0.0402,
      },
    ],
    [
      "L",
      {
        type: "local-candidate",
        candidateType: local,
        ...(local === "relay" && { relayProtocol: "udp" }),
      },
    ],
    ["R", { type: "remote-candidate", candidateType: remote }],
    ["V", { type: "inbound-rtp", kind: "video", framesDecoded: frames }],
  ]);
}
