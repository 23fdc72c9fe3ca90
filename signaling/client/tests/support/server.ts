import { createServer } from "node:http";
import type { AddressInfo } from "node:net";

import { Server, type Socket } from "socket.io";
import { onTestFinished } from "vitest";

import type {
  Acks,
  ClientEvents,
  ConnectAuth,
  ServerEvents,
  SessionResumed,
  Signal,
} from "../../src/contract.ts";
import { fixture, mustMatch } from "./schema.ts";

export interface Sent {
  event: keyof ClientEvents;
  payload: never;
}

type WithoutSeq<T> = T extends unknown ? Omit<T, "seq"> : never;
type Acknowledge = (answer: unknown) => void;
type Answers = { [E in keyof ClientEvents]?: (payload: ClientEvents[E]) => Acks[E] | undefined };

/** A socket.io server that answers as a test says and holds both sides to the contract. */
export class ScriptedServer {
  readonly received: Sent[] = [];
  /** What to answer; `{ok: true}` where nothing is said, silence for `undefined`. */
  readonly answers: Answers = {};
  readonly violations: unknown[] = [];
  /** Refuses the next connections with this code. */
  refuse: string | undefined;
  sessions = 0;
  /** Sockets that went on with a session. */
  resumes = 0;
  /** Knows no session but the ones to come, as after a crash. */
  forgetful = false;
  /** What a session is said to be that goes on. */
  resumed: Omit<SessionResumed, "seq" | "lastClientSeq"> = { state: "idle" };
  /** Sockets that are open now. */
  open = 0;
  #io: Server;
  #socket: Socket | undefined;
  #seq = 0;
  /** All events of the session. */
  #events: { event: string; payload: { seq: number } }[] = [];
  #lastClientSeq = 0;
  #changed = new Set<() => void>();
  readonly port: number;

  private constructor(io: Server, port: number) {
    this.#io = io;
    this.port = port;
    io.use((_socket, next) => {
      next(this.refuse === undefined ? undefined : new Error(this.refuse));
    });
    io.on("connection", (socket) => {
      this.#accept(socket);
    });
  }

  static async listen(port = 0): Promise<ScriptedServer> {
    const http = createServer();
    await new Promise<void>((resolve) => http.listen(port, "127.0.0.1", resolve));
    const server = new ScriptedServer(new Server(http), (http.address() as AddressInfo).port);
    onTestFinished(async () => {
      await server.close();
      if (server.violations.length > 0) throw new Error(String(server.violations[0]));
    });
    return server;
  }

  get url(): string {
    return `http://127.0.0.1:${this.port}`;
  }

  async close(): Promise<void> {
    await this.#io.close();
  }

  send<E extends keyof ServerEvents>(event: E, payload: WithoutSeq<ServerEvents[E]>): void {
    const numbered = { ...payload, seq: ++this.#seq };
    mustMatch("ServerEvents", event, numbered);
    this.#events.push({ event, payload: numbered });
    if (this.#socket?.connected) this.#socket.emit(event, numbered);
  }

  /** Skips numbers, or goes back: what a broken server would do. */
  skipSeq(by: number): void {
    this.#seq += by;
  }

  disconnect(): void {
    this.#socket?.disconnect(true);
  }

  /** Closes the transport without a word, as a dead network does. */
  cut(): void {
    this.#socket?.conn.close();
  }

  /** The payloads of an event so far. */
  all<E extends keyof ClientEvents>(event: E): ClientEvents[E][] {
    return this.received
      .filter((sent) => sent.event === event)
      .map((sent) => sent.payload as ClientEvents[E]);
  }

  /** The payload of the `count`-th such event, once it is there. */
  async got<E extends keyof ClientEvents>(event: E, count = 1): Promise<ClientEvents[E]> {
    await this.until(() => this.all(event).length >= count);
    return this.all(event)[count - 1]!;
  }

  async greeted(session: number): Promise<void> {
    await this.until(() => this.sessions >= session);
  }

  async until(holds: () => boolean): Promise<void> {
    if (holds()) return;
    await new Promise<void>((resolve) => {
      const check = () => {
        if (!holds()) return;
        this.#changed.delete(check);
        resolve();
      };
      this.#changed.add(check);
    });
  }

  #accept(socket: Socket): void {
    const auth = socket.handshake.auth as ConnectAuth;
    const before = this.#socket;
    this.#socket = socket;
    this.#check(() => {
      mustMatch("ConnectAuth", "", auth);
    });
    socket.onAny((event: keyof ClientEvents, payload: unknown, ack?: Acknowledge) => {
      this.#take(event, payload as never, ack);
    });
    if (auth.resume === undefined || this.forgetful) this.#greet();
    else this.#resume(auth.resume);
    before?.disconnect(true);
    socket.on("disconnect", () => {
      this.open -= 1;
      this.#notify();
    });
    this.open += 1;
    this.#notify();
  }

  #greet(): void {
    this.forgetful = false;
    this.#seq = this.#lastClientSeq = 0;
    this.#events = [];
    this.sessions += 1;
    this.send("hello", fixture("hello"));
  }

  #resume({ id, lastSeq }: { id: string; lastSeq: number }): void {
    this.resumes += 1;
    this.#check(() => {
      if (id !== fixture("hello").resume) throw new Error(`no session ${id}`);
    });
    const resumed = { ...this.resumed, seq: lastSeq, lastClientSeq: this.#lastClientSeq };
    mustMatch("ServerEvents", "session.resumed", resumed);
    this.#socket?.emit("session.resumed", resumed);
    for (const { event, payload } of this.#events) {
      if (payload.seq > lastSeq) this.#socket?.emit(event, payload);
    }
  }

  #take(event: keyof ClientEvents, payload: never, ack?: Acknowledge): void {
    this.#check(() => {
      mustMatch("ClientEvents", event, payload);
      if (ack === undefined) throw new Error(`${event} asks for no answer`);
    });
    this.received.push({ event, payload });
    const answer = event in this.answers ? this.answers[event]?.(payload) : defaultAnswer(event);
    if (event === "signal" && (answer as { ok: boolean } | undefined)?.ok) {
      this.#lastClientSeq = Math.max(this.#lastClientSeq, (payload as Signal).seq);
    }
    if (answer !== undefined) {
      this.#check(() => {
        mustMatch("Acks", event, answer);
      });
      ack?.(answer);
    }
    this.#notify();
  }

  #check(run: () => void): void {
    try {
      run();
    } catch (violation) {
      this.violations.push(violation);
    }
  }

  #notify(): void {
    for (const check of [...this.#changed]) check();
  }
}

function defaultAnswer(event: keyof ClientEvents): unknown {
  return event === "queue.leave" ? { ok: true, result: "left" } : { ok: true };
}
