import { io, type Socket } from "socket.io-client";

import type {
  Acks,
  ClientEvents,
  ErrorCode,
  Hello,
  Id,
  ServerEvents,
  SignalBody,
} from "./contract.ts";
import { Emitter } from "./emitter.ts";
import { SignalOutbox } from "./signal-outbox.ts";

export interface SignalingOptions {
  /** Origin of the server. */
  url: string;
  /** Path of the Socket.IO endpoint; `/socket.io` by default. */
  path?: string;
}

/** The server's answer, or that none came: the socket closed or it took too long. */
export type Answer<E extends keyof ClientEvents> = Acks[E] | typeof UNANSWERED;

export interface SignalingEvents extends ServerEvents {
  /** A live socket closed; the session and its pair are gone on the server. */
  down: undefined;
  /** An attempt to connect failed; another follows. */
  unreachable: undefined;
  /** The server speaks another version of the contract; it is not tried again. */
  outdated: undefined;
}

const UNANSWERED = { ok: false, code: "unanswered" } as const;
const OUTDATED: ErrorCode = "unsupported_version";
const ANSWER_WITHIN_MS = 5000;
/** How long the socket stays open for the answer to `bye`, so that the close does not overtake it. */
const GOODBYE_MS = 500;
const RETRY_MS = { after: 1000, spread: 2000 };

/** The socket to the server: typed events in order, an answer to every request, reconnects. */
export class Signaling extends Emitter<SignalingEvents> {
  readonly #options: SignalingOptions;
  readonly #outbox = new SignalOutbox((signal) => this.#ask("signal", signal));
  #socket: Socket | undefined;
  #hello: Hello | undefined;
  #lastSeq = 0;
  #retry: ReturnType<typeof setTimeout> | undefined;

  constructor(options: SignalingOptions) {
    super();
    this.#options = options;
  }

  /** The session, once the server has greeted. */
  get session(): Hello | undefined {
    return this.#hello;
  }

  /** Opens the socket and keeps it open until `close`. */
  connect(): void {
    if (this.#socket !== undefined) return;
    if (typeof window !== "undefined") window.addEventListener("online", this.#online);
    this.#socket = this.#newSocket();
    this.#socket.connect();
  }

  /** Says goodbye and closes the socket; `connect` opens another. */
  close(): void {
    if (typeof window !== "undefined") window.removeEventListener("online", this.#online);
    clearTimeout(this.#retry);
    const socket = this.#socket;
    const greeted = this.#hello !== undefined;
    this.#socket = undefined;
    this.#forget();
    socket?.off().offAny();
    if (greeted) socket?.timeout(GOODBYE_MS).emit("bye", {}, () => socket.disconnect());
    else socket?.disconnect();
  }

  /** Leaves this session for a new one at once. */
  reconnect(): void {
    this.#socket?.disconnect();
    this.#socket?.connect();
  }

  /** Sends an event and resolves with the answer; waits and asks again while `rate_limited`. */
  async request<E extends Exclude<keyof ClientEvents, "signal">>(
    event: E,
    payload: ClientEvents[E],
  ): Promise<Answer<E>> {
    const session = this.#hello;
    for (;;) {
      const answer = await this.#ask(event, payload);
      if (answer.ok || answer.code !== "rate_limited") return answer;
      await new Promise((resolve) => setTimeout(resolve, answer.retryAfterMs ?? 1000));
      if (session !== this.#hello) return UNANSWERED;
    }
  }

  /** Sends one step of the negotiation, in order and exactly once within the session. */
  signal(pair: Id, body: SignalBody): void {
    if (this.#hello !== undefined) this.#outbox.push(pair, body);
  }

  async #ask<E extends keyof ClientEvents>(event: E, payload: ClientEvents[E]): Promise<Answer<E>> {
    if (this.#socket === undefined || this.#hello === undefined) return UNANSWERED;
    const asking = this.#socket.timeout(ANSWER_WITHIN_MS).emitWithAck(event, payload);
    return (asking as Promise<Acks[E]>).catch(() => UNANSWERED);
  }

  #newSocket(): Socket {
    const socket = io(this.#options.url, {
      path: this.#options.path ?? "/socket.io",
      transports: ["websocket"],
      auth: { v: 1 },
      autoConnect: false,
      forceNew: true,
      reconnectionDelay: 500,
      reconnectionDelayMax: 5000,
      timeout: 10_000,
    });
    socket.onAny((event: keyof ServerEvents, payload: ServerEvents[keyof ServerEvents]) => {
      this.#received(event, payload);
    });
    socket.on("disconnect", (reason) => {
      this.#dropped(reason);
    });
    socket.on("connect_error", (error) => {
      this.#failed(error.message, socket.active);
    });
    return socket;
  }

  #received(event: keyof ServerEvents, payload: ServerEvents[keyof ServerEvents]): void {
    if (event === "hello") {
      this.#hello = payload as Hello;
    } else if (payload.seq <= this.#lastSeq) {
      return;
    } else if (payload.seq !== this.#lastSeq + 1) {
      this.reconnect();
      return;
    }
    this.#lastSeq = payload.seq;
    this.emit(event, payload);
  }

  #dropped(reason: string): void {
    const live = this.#hello !== undefined;
    this.#forget();
    if (live) this.emit("down", undefined);
    if (reason === "io server disconnect") this.#connectLater();
  }

  /** After a refusal, unlike after a failure, socket.io does not try again by itself. */
  #failed(message: string, triesAgain: boolean): void {
    if (!triesAgain && message === OUTDATED) {
      this.emit("outdated", undefined);
      return;
    }
    this.emit("unreachable", undefined);
    if (!triesAgain) this.#connectLater();
  }

  #forget(): void {
    this.#hello = undefined;
    this.#lastSeq = 0;
    this.#outbox.reset();
  }

  #connectLater(): void {
    clearTimeout(this.#retry);
    this.#retry = setTimeout(
      () => this.#socket?.connect(),
      RETRY_MS.after + Math.random() * RETRY_MS.spread,
    );
  }

  /** `connect` alone does nothing while socket.io waits for its next attempt. */
  readonly #online = (): void => {
    if (this.#socket?.connected !== true) this.reconnect();
  };
}
