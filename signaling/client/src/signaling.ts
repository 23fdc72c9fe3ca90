import { io, type Socket } from "socket.io-client";

import type {
  Acks,
  ClientEvents,
  ConnectAuth,
  ErrorCode,
  Hello,
  Id,
  ServerEvents,
  SessionResumed,
  SignalBody,
} from "./contract.ts";
import { Emitter } from "./emitter.ts";
import { onNetworkChange } from "./network.ts";
import { SignalOutbox } from "./signal-outbox.ts";

export interface SignalingOptions {
  /** Origin of the server. */
  url: string;
  /** Path of the Socket.IO endpoint; `/socket.io` by default. */
  path?: string;
  /** 128 random bits in base64url that this browser keeps: blocks and bans go by it. */
  device?: Id;
}

/** The server's answer, or that none came: the session has ended before. */
export type Answer<E extends keyof ClientEvents> = Acks[E] | typeof UNANSWERED;

export interface SignalingEvents extends ServerEvents {
  /** A live socket closed. `session.resumed` follows where the session goes on, else `hello`. */
  down: undefined;
  /** An attempt to connect failed; another follows. */
  unreachable: undefined;
  /** The server speaks another version of the contract; it is not tried again. */
  outdated: undefined;
  /** The server does not let this browser in; it is not tried again. */
  banned: undefined;
}

const UNANSWERED = { ok: false, code: "unanswered" } as const;
const OUTDATED: ErrorCode = "unsupported_version";
const BANNED: ErrorCode = "banned";
const ANSWER_WITHIN_MS = 5000;
/** How long the socket stays open for the answer to `bye`, so that the close does not overtake it. */
const GOODBYE_MS = 500;
/** When to try again after the server closed the socket: spread, since it closes many at once. */
const RETRY_MS = { new: { after: 1000, spread: 2000 }, resume: { after: 200, spread: 1800 } };

/** The socket to the server: typed events in order, an answer to every request, and one session over many sockets. */
export class Signaling extends Emitter<SignalingEvents> {
  readonly #options: SignalingOptions;
  readonly #outbox = new SignalOutbox((signal) => this.#ask("signal", signal));
  #socket: Socket | undefined;
  #hello: Hello | undefined;
  /** The socket is open, and the server knows whose it is. */
  #live = false;
  #lastSeq = 0;
  /** Counts the sockets that were live. */
  #sockets = 0;
  #awaitsSocket: (() => void)[] = [];
  #retry: ReturnType<typeof setTimeout> | undefined;
  #offNetwork: (() => void) | undefined;

  constructor(options: SignalingOptions) {
    super();
    this.#options = options;
  }

  /** The session, once the server has greeted; it may be without a socket for a while. */
  get session(): Hello | undefined {
    return this.#hello;
  }

  /** Whether the session has a socket now. */
  get live(): boolean {
    return this.#live;
  }

  /** Opens the socket and keeps it open until `close`. */
  connect(): void {
    if (this.#socket !== undefined) return;
    this.#offNetwork = onNetworkChange({
      online: () => {
        if (!this.#live) this.reconnect();
      },
      changed: () => {
        this.reconnect();
      },
    });
    this.#socket = this.#newSocket();
    this.#socket.connect();
  }

  /** Says goodbye, which ends the session, and closes the socket; `connect` opens another. */
  close(): void {
    this.#offNetwork?.();
    clearTimeout(this.#retry);
    const socket = this.#socket;
    const greeted = this.#live;
    this.#socket = undefined;
    this.#hello = undefined;
    this.#live = false;
    this.#lastSeq = 0;
    this.#outbox.reset();
    this.#socketCame();
    socket?.off().offAny();
    if (greeted) socket?.timeout(GOODBYE_MS).emit("bye", {}, () => socket.disconnect());
    else socket?.disconnect();
  }

  /** Goes on by another socket at once. */
  reconnect(): void {
    // `connect` alone does nothing while socket.io waits for its next attempt.
    this.#socket?.disconnect();
    this.#socket?.connect();
  }

  /** Sends an event and resolves with the answer: asks again while `rate_limited`, and by the next socket of the session. */
  async request<E extends Exclude<keyof ClientEvents, "signal">>(
    event: E,
    payload: ClientEvents[E],
  ): Promise<Answer<E>> {
    const session = this.#hello;
    while (session !== undefined && session === this.#hello) {
      const asked = this.#live ? this.#sockets : undefined;
      const answer = await this.#ask(event, payload);
      if (answer.ok || !(answer.code === "rate_limited" || answer.code === "unanswered")) {
        return answer;
      }
      if (answer.code === "rate_limited") {
        await pause(answer.retryAfterMs ?? 1000);
      } else if (session === this.#hello) {
        // A socket that brings no answer is dead, whatever it seems.
        if (this.#live && asked === this.#sockets) this.reconnect();
        if (!this.#live) await new Promise<void>((came) => this.#awaitsSocket.push(came));
      }
    }
    return UNANSWERED;
  }

  /** Sends one step of the negotiation, in order and exactly once within the session. */
  signal(pair: Id, body: SignalBody): void {
    if (this.#hello !== undefined) this.#outbox.push(pair, body);
  }

  async #ask<E extends keyof ClientEvents>(event: E, payload: ClientEvents[E]): Promise<Answer<E>> {
    if (this.#socket === undefined || !this.#live) return UNANSWERED;
    const asking = this.#socket.timeout(ANSWER_WITHIN_MS).emitWithAck(event, payload);
    return (asking as Promise<Acks[E]>).catch(() => UNANSWERED);
  }

  #newSocket(): Socket {
    const socket = io(this.#options.url, {
      path: this.#options.path ?? "/socket.io",
      transports: ["websocket"],
      auth: (tell) => {
        tell(this.#auth());
      },
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

  #auth(): ConnectAuth {
    const session = this.#hello;
    const { device } = this.#options;
    const known: ConnectAuth = device === undefined ? { v: 1 } : { v: 1, device };
    if (session === undefined) return known;
    return { ...known, resume: { id: session.resume, lastSeq: this.#lastSeq } };
  }

  #received(event: keyof ServerEvents, payload: ServerEvents[keyof ServerEvents]): void {
    if (event === "hello") this.#greeted(payload as Hello);
    else if (event === "session.resumed") this.#resumed(payload as SessionResumed);
    else if (payload.seq <= this.#lastSeq) return;
    else if (payload.seq !== this.#lastSeq + 1) {
      this.reconnect();
      return;
    } else this.#lastSeq = payload.seq;
    this.emit(event, payload);
  }

  #greeted(hello: Hello): void {
    this.#hello = hello;
    this.#lastSeq = hello.seq;
    this.#live = true;
    this.#outbox.reset();
    this.#socketCame();
  }

  #resumed({ lastClientSeq }: SessionResumed): void {
    this.#live = true;
    this.#outbox.resume(lastClientSeq);
    this.#socketCame();
  }

  #socketCame(): void {
    this.#sockets += 1;
    for (const came of this.#awaitsSocket.splice(0)) came();
  }

  #dropped(reason: string): void {
    const live = this.#live;
    this.#live = false;
    this.#outbox.pause();
    if (live) this.emit("down", undefined);
    if (reason === "io server disconnect") this.#connectLater();
  }

  /** After a refusal, unlike after a failure, socket.io does not try again by itself. */
  #failed(message: string, triesAgain: boolean): void {
    if (!triesAgain && message === OUTDATED) {
      this.emit("outdated", undefined);
      return;
    }
    if (!triesAgain && message === BANNED) {
      this.emit("banned", undefined);
      return;
    }
    this.emit("unreachable", undefined);
    if (!triesAgain) this.#connectLater();
  }

  #connectLater(): void {
    const { after, spread } = this.#hello === undefined ? RETRY_MS.new : RETRY_MS.resume;
    clearTimeout(this.#retry);
    this.#retry = setTimeout(() => this.#socket?.connect(), after + Math.random() * spread);
  }
}

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
