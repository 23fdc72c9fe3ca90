import type { Candidate } from "./contract.ts";

const WINDOW_MS = 10;
/** The server takes 64 candidates a generation: the relayed ones, gathered last, keep a share. */
const MOST = { all: 64, besideRelay: 48 };

/** Local candidates gathered within a few milliseconds leave in one message. */
export class CandidateBatch {
  readonly #send: (gen: number, candidates: Candidate[]) => void;
  #gen = 0;
  #taken = 0;
  #pending: Candidate[] = [];
  #timer: ReturnType<typeof setTimeout> | undefined;

  constructor(send: (gen: number, candidates: Candidate[]) => void) {
    this.#send = send;
  }

  add(gen: number, candidate: RTCIceCandidate): void {
    if (gen !== this.#gen) {
      this.flush();
      this.#gen = gen;
      this.#taken = 0;
    }
    if (!this.#wanted(candidate)) return;
    this.#taken += 1;
    const { candidate: line, sdpMid, sdpMLineIndex, usernameFragment } = candidate;
    this.#pending.push({ candidate: line, sdpMid, sdpMLineIndex, usernameFragment });
    this.#timer ??= setTimeout(() => {
      this.flush();
    }, WINDOW_MS);
  }

  flush(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    const candidates = this.#pending;
    if (candidates.length === 0) return;
    this.#pending = [];
    this.#send(this.#gen, candidates);
  }

  close(): void {
    clearTimeout(this.#timer);
    this.#pending = [];
  }

  /** No browser answers active TCP candidates, since none listens on TCP. */
  #wanted(candidate: RTCIceCandidate): boolean {
    if (candidate.tcpType === "active") return false;
    return this.#taken < (candidate.type === "relay" ? MOST.all : MOST.besideRelay);
  }
}
