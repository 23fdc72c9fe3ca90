import type { Id, Signal, SignalBody } from "./contract.ts";

export type Outcome = { ok: true } | { ok: false; code: string; retryAfterMs?: number };

/** Refusals that do not take the `seq`: the same signal is sent again, and what follows it after it. */
const NOT_TAKEN = new Set(["rate_limited", "out_of_order", "unanswered"]);
const SEND_AGAIN_MS = 100;

/** The signals of one session, in order: sent at once, sent again from the first that was not taken. */
export class SignalOutbox {
  readonly #transmit: (signal: Signal) => Promise<Outcome>;
  #untaken: Signal[] = [];
  #nextSeq = 1;
  #inFlight = 0;
  #stalledMs: number | undefined;
  #paused = false;
  #timer: ReturnType<typeof setTimeout> | undefined;

  constructor(transmit: (signal: Signal) => Promise<Outcome>) {
    this.#transmit = transmit;
  }

  push(pair: Id, body: SignalBody): void {
    const signal: Signal = { pair, seq: this.#nextSeq++, ...body };
    this.#untaken.push(signal);
    if (this.#stalledMs === undefined && !this.#paused) void this.#send(signal);
  }

  /** There is no socket to send by. */
  pause(): void {
    clearTimeout(this.#timer);
    this.#paused = true;
  }

  /** Sends what the server has not taken, which knows the signals up to `lastTaken`. */
  resume(lastTaken: number): void {
    clearTimeout(this.#timer);
    this.#untaken = this.#untaken.filter(({ seq }) => seq > lastTaken);
    this.#inFlight = 0;
    this.#paused = false;
    this.#sendAgain();
  }

  /** Starts over for a new session. */
  reset(): void {
    clearTimeout(this.#timer);
    this.#untaken = [];
    this.#nextSeq = 1;
    this.#inFlight = 0;
    this.#stalledMs = undefined;
    this.#paused = false;
  }

  async #send(signal: Signal): Promise<void> {
    const session = this.#untaken;
    this.#inFlight += 1;
    const outcome = await this.#transmit(signal);
    if (session !== this.#untaken) return;
    this.#inFlight -= 1;
    if (!outcome.ok && NOT_TAKEN.has(outcome.code)) {
      this.#stalledMs = Math.max(this.#stalledMs ?? 0, outcome.retryAfterMs ?? SEND_AGAIN_MS);
    } else {
      session.splice(session.indexOf(signal), 1);
    }
    if (this.#stalledMs !== undefined && this.#inFlight === 0 && !this.#paused) {
      this.#timer = setTimeout(() => {
        this.#sendAgain();
      }, this.#stalledMs);
    }
  }

  #sendAgain(): void {
    this.#stalledMs = undefined;
    for (const signal of [...this.#untaken]) void this.#send(signal);
  }
}
