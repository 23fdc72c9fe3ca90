import { afterEach, beforeEach, describe, expect, it, onTestFinished, vi } from "vitest";

import type { ServerEvents, SignalBody } from "../src/contract.ts";
import { Signaling, type SignalingEvents } from "../src/signaling.ts";
import { fixture, fixtures } from "./support/schema.ts";
import { ScriptedServer } from "./support/server.ts";

const PAIR = "pairAAAAAAAAAAAAAAAAA_";
const END: SignalBody = { gen: 0, end: true };

describe("a session", () => {
  let server: ScriptedServer;
  let signaling: Signaling;

  beforeEach(async () => {
    server = await ScriptedServer.listen();
    signaling = await connected(server);
  });

  it("hands every event of the contract on", async () => {
    for (const { event, valid } of fixtures("server")) {
      if (event === "hello" || event === "session.resumed") continue;
      for (const { payload } of valid) {
        const name = event as keyof ServerEvents;
        const next = once(signaling, name);
        server.send(name, payload as ServerEvents[typeof name]);
        expect(await next).toEqual({ ...(payload as object), seq: expect.any(Number) as number });
      }
    }
  });

  it("hears an event once when the server sends it twice", async () => {
    const started: unknown[] = [];
    signaling.on("match.start", (start) => started.push(start.pair));
    server.send("match.start", { pair: PAIR });
    server.skipSeq(-1);
    server.send("match.start", { pair: PAIR });
    const ended = once(signaling, "match.ended");
    server.send("match.ended", { pair: PAIR, reason: "left", state: "idle" });
    await ended;
    expect(started).toEqual([PAIR]);
  });

  it("asks for an event that is missing by another socket", async () => {
    server.skipSeq(1);
    server.send("match.start", { pair: PAIR });
    await once(signaling, "down");
    await server.until(() => server.resumes === 1);
    expect(server.sessions).toBe(1);
  });

  it("asks again after the time that the server names", async () => {
    let asked = 0;
    server.answers["match.accept"] = () =>
      ++asked === 1 ? { ok: false, code: "rate_limited", retryAfterMs: 20 } : { ok: true };
    expect(await signaling.request("match.accept", { pair: PAIR })).toEqual({ ok: true });
    expect(asked).toBe(2);
  });

  it("goes on by another socket and hears what it missed, once and in order", async () => {
    const heard: number[] = [];
    signaling.on("queue.state", ({ seq }) => heard.push(seq));
    const state = { state: "waiting", since: 1, widened: false } as const;
    server.send("queue.state", state);
    server.cut();
    await once(signaling, "down");
    expect([signaling.live, signaling.session !== undefined]).toEqual([false, true]);
    for (let i = 0; i < 3; i += 1) server.send("queue.state", state);
    const resumed = await once(signaling, "session.resumed");
    expect(resumed).toMatchObject({ state: "idle", lastClientSeq: 0 });
    expect(signaling.live).toBe(true);
    await server.until(() => heard.length === 4);
    expect(heard).toEqual([2, 3, 4, 5]);
    expect(server.sessions).toBe(1);
  });

  it("asks by the next socket what the one before brought no answer to", async () => {
    server.answers["match.accept"] = () => undefined;
    const answer = signaling.request("match.accept", { pair: PAIR });
    await server.got("match.accept");
    delete server.answers["match.accept"];
    server.cut();
    expect(await answer).toEqual({ ok: true });
    expect(server.all("match.accept")).toHaveLength(2);
  });

  it("does not ask a new session what the one before was asked", async () => {
    server.answers["queue.join"] = () => undefined;
    const answer = signaling.request("queue.join", {
      mode: "video",
      interests: [],
      privacy: "all",
    });
    await server.got("queue.join");
    server.forgetful = true;
    server.cut();
    expect(await answer).toEqual({ ok: false, code: "unanswered" });
    expect([server.sessions, server.all("queue.join").length]).toEqual([2, 1]);
  });

  it("leaves a socket that brings no answer for another", async () => {
    vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout"], shouldAdvanceTime: true });
    onTestFinished(() => {
      vi.useRealTimers();
    });
    server.answers["match.accept"] = () => undefined;
    const answer = signaling.request("match.accept", { pair: PAIR });
    await server.got("match.accept");
    delete server.answers["match.accept"];
    vi.advanceTimersByTime(5000);
    expect(await answer).toEqual({ ok: true });
    expect(server.resumes).toBe(1);
  });

  it("comes back by itself after the server closed the socket", async () => {
    vi.spyOn(Math, "random").mockReturnValue(0);
    server.disconnect();
    await once(signaling, "session.resumed");
  });

  it("is over on the server before the socket closes, and another can begin meanwhile", async () => {
    let answered = false;
    server.answers.bye = () => {
      answered = true;
      return { ok: true };
    };
    signaling.close();
    expect(signaling.session).toBeUndefined();
    const greeting = once(signaling, "hello");
    signaling.connect();
    await greeting;
    await server.got("bye");
    await server.until(() => server.open === 1);
    expect(answered).toBe(true);
    expect(await signaling.request("queue.leave", {})).toMatchObject({ ok: true });
  });

  describe("sends signals", () => {
    it("numbered through all pairs", async () => {
      signaling.signal(PAIR, END);
      signaling.signal("pairBAAAAAAAAAAAAAAAA_", END);
      await server.got("signal", 2);
      expect(server.all("signal").map(({ seq }) => seq)).toEqual([1, 2]);
    });

    it("again in order when one was not taken", async () => {
      const refusals = [{ ok: false, code: "rate_limited", retryAfterMs: 20 }] as const;
      let expected = 1;
      server.answers.signal = ({ seq }) => {
        if (server.all("signal").length === 1) return refusals[0];
        if (seq !== expected) return { ok: false, code: "out_of_order", expectedSeq: expected };
        expected += 1;
        return { ok: true };
      };
      for (let i = 0; i < 3; i += 1) signaling.signal(PAIR, END);
      await server.until(() => expected === 4);
      expect(server.all("signal").map(({ seq }) => seq)).toEqual([1, 2, 3, 1, 2, 3]);
    });

    it("past one that was refused for good", async () => {
      server.answers.signal = ({ seq }) =>
        seq === 1 ? { ok: false, code: "not_in_pair" } : { ok: true };
      signaling.signal(PAIR, END);
      signaling.signal(PAIR, END);
      await server.got("signal", 2);
      const done = await signaling.request("queue.leave", {});
      expect(done.ok).toBe(true);
      expect(server.all("signal")).toHaveLength(2);
    });

    it("again by the next socket, but not those that were taken", async () => {
      let deaf = false;
      server.answers.signal = () => (deaf ? undefined : { ok: true });
      signaling.signal(PAIR, END);
      await server.got("signal");
      deaf = true;
      signaling.signal(PAIR, END);
      await server.got("signal", 2);
      server.cut();
      await once(signaling, "down");
      signaling.signal(PAIR, END);
      deaf = false;
      await server.got("signal", 4);
      expect(server.all("signal").map(({ seq }) => seq)).toEqual([1, 2, 2, 3]);
    });

    it("from one again in a new session", async () => {
      signaling.signal(PAIR, END);
      await server.got("signal");
      server.forgetful = true;
      server.cut();
      await once(signaling, "hello");
      signaling.signal(PAIR, END);
      expect(await server.got("signal", 2)).toMatchObject({ seq: 1 });
    });
  });
});

describe("a server that cannot be reached", () => {
  afterEach(() => {
    vi.useRealTimers();
    vi.unstubAllGlobals();
  });

  it("is tried at once when the browser is online again", async () => {
    const browser = new EventTarget();
    vi.stubGlobal("window", browser);
    const server = await ScriptedServer.listen();
    await server.close();
    const signaling = open(server.url);
    vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout"] });
    signaling.connect();
    await once(signaling, "unreachable");
    const back = await ScriptedServer.listen(server.port);
    const greeting = once(signaling, "hello");
    browser.dispatchEvent(new Event("online"));
    expect(await greeting).toMatchObject(fixture("hello"));
    expect(back.sessions).toBe(1);
  });

  it("is reached by another socket when the network is another one", async () => {
    const connection = Object.assign(new EventTarget(), { type: "cellular" });
    const browser = Object.assign(new EventTarget(), { navigator: { connection } });
    vi.stubGlobal("window", browser);
    const server = await ScriptedServer.listen();
    const signaling = await connected(server);
    connection.dispatchEvent(new Event("change"));
    connection.type = "wifi";
    connection.dispatchEvent(new Event("change"));
    await once(signaling, "session.resumed");
    expect(server.resumes).toBe(1);
  });

  it("is not tried again when it speaks another version", async () => {
    const server = await ScriptedServer.listen();
    server.refuse = "unsupported_version";
    const signaling = open(server.url);
    signaling.connect();
    await once(signaling, "outdated");
    expect(signaling.session).toBeUndefined();
  });

  it("is tried again when it refuses for now", async () => {
    vi.spyOn(Math, "random").mockReturnValue(0);
    const server = await ScriptedServer.listen();
    server.refuse = "draining";
    const signaling = open(server.url);
    signaling.connect();
    await once(signaling, "unreachable");
    server.refuse = undefined;
    await once(signaling, "hello");
  });
});

function open(url: string): Signaling {
  const signaling = new Signaling({ url });
  onTestFinished(() => {
    signaling.close();
  });
  return signaling;
}

async function connected(server: ScriptedServer): Promise<Signaling> {
  const signaling = open(server.url);
  const greeting = once(signaling, "hello");
  signaling.connect();
  await greeting;
  return signaling;
}

function once<E extends keyof SignalingEvents>(
  signaling: Signaling,
  event: E,
): Promise<SignalingEvents[E]> {
  return new Promise((resolve) => {
    const off = signaling.on(event, (payload) => {
      off();
      resolve(payload);
    });
  });
}
