import { createServer } from "node:http";
import type { AddressInfo } from "node:net";

import { Server, type Socket } from "socket.io";
import { onTestFinished } from "vitest";

import type { Acks, ClientEvents, ServerEvents } from "../../src/contract.ts";
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
  /** Sockets that are open now. */
  open = 0;
  #io: Server;
  #socket: Socket | undefined;
  #seq = 0;
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
    this.#socket?.emit(event, numbered);
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
    this.#socket = socket;
    this.#seq = 0;
    this.#check(() => {
      mustMatch("ConnectAuth", "", socket.handshake.auth);
    });
    socket.onAny((event: keyof ClientEvents, payload: unknown, ack?: Acknowledge) => {
      this.#take(event, payload as never, ack);
    });
    this.send("hello", fixture("hello"));
    socket.on("disconnect", () => {
      this.open -= 1;
      this.#notify();
    });
    this.open += 1;
    this.sessions += 1;
    this.#notify();
  }

  #take(event: keyof ClientEvents, payload: never, ack?: Acknowledge): void {
    this.#check(() => {
      mustMatch("ClientEvents", event, payload);
      if (ack === undefined) throw new Error(`${event} asks for no answer`);
    });
    this.received.push({ event, payload });
    const answer = event in this.answers ? this.answers[event]?.(payload) : defaultAnswer(event);
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
