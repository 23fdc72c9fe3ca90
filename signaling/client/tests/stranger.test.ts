import { beforeEach, describe, expect, it, onTestFinished, vi } from "vitest";

import type { MatchFound, SignalBody } from "../src/contract.ts";
import { MediaUnavailable } from "../src/media.ts";
import type { Snapshot } from "../src/snapshot.ts";
import { Stranger, type Wishes } from "../src/stranger.ts";
import {
  connectedReport,
  FakePeerConnection,
  type FakeStream,
  fakeStream,
  useFakeRtc,
} from "./support/fake-rtc.ts";
import { fixture } from "./support/schema.ts";
import { ScriptedServer } from "./support/server.ts";

const WISHES: Wishes = { mode: "video", interests: ["music"], privacy: "all" };
const FOUND = fixture("match.found", "responder");
const OTHER_PAIR = "pairBAAAAAAAAAAAAAAAA_";

let server: ScriptedServer;
let stranger: Stranger;
let stream: MediaStream & FakeStream;

beforeEach(async () => {
  useFakeRtc();
  server = await ScriptedServer.listen();
  stranger = new Stranger({ url: server.url });
  stream = fakeStream();
  onTestFinished(() => {
    stranger.stop();
  });
});

const openMedia = () => Promise.resolve(stream);

function shows(expected: Partial<Snapshot>): Promise<void> {
  return vi.waitFor(
    () => {
      expect(stranger.snapshot).toMatchObject(expected);
    },
    { timeout: 5000, interval: 5 },
  );
}

async function waiting(): Promise<void> {
  void stranger.start(openMedia, WISHES);
  await server.got("queue.join");
}

async function matched(found: Partial<MatchFound> = {}): Promise<FakePeerConnection> {
  await waiting();
  server.send("match.found", { ...FOUND, ...found });
  const { pair } = await server.got("match.accept");
  server.send("match.start", { pair });
  return FakePeerConnection.all.at(-1)!;
}

async function inCall(report = connectedReport("host", "srflx", 1)): Promise<FakePeerConnection> {
  const pc = await matched();
  const remoteStream = fakeStream();
  pc.ontrack?.({ track: remoteStream.tracks[1], streams: [remoteStream] });
  pc.report = report;
  pc.connection("connected");
  await shows({ phase: "connected", remoteStream });
  return pc;
}

const offer: SignalBody = {
  gen: 0,
  description: {
    type: "offer",
    sdp: "v=0\r\na=ice-ufrag:F7gI\r\na=fingerprint:sha-256 49:66\r\n",
  },
};

describe("a report", () => {
  const REPORT = { category: "harassment", note: "rude", block: true } as const;

  it("is about the partner, who is then left for another", async () => {
    await inCall();
    await shows({ reportable: true });
    expect(await stranger.report(REPORT)).toBe(true);
    expect(await server.got("report")).toEqual({ pair: FOUND.pair, ...REPORT });
    expect(await server.got("match.next")).toMatchObject({ pair: FOUND.pair });
    await shows({ phase: "waiting", news: "report_sent", reportable: false });
  });

  it("can be made after the partner has left, and not without one", async () => {
    await waiting();
    expect(await stranger.report(REPORT)).toBe(false);
    server.send("match.found", FOUND);
    await server.got("match.accept");
    expect(stranger.snapshot.reportable).toBe(false);
    server.send("match.start", { pair: FOUND.pair });
    await shows({ reportable: true });
    server.send("match.ended", { pair: FOUND.pair, reason: "left", state: "idle" });
    await shows({ pair: undefined, reportable: true });
    expect(await stranger.report(REPORT)).toBe(true);
    expect(server.all("report")).toEqual([{ pair: FOUND.pair, ...REPORT }]);
    expect(server.all("match.next")).toEqual([]);
  });

  it("that comes too late says so", async () => {
    server.answers.report = () => ({ ok: false, code: "not_in_pair" });
    await inCall();
    await shows({ reportable: true });
    expect(await stranger.report(REPORT)).toBe(false);
    expect(stranger.snapshot).toMatchObject({ phase: "connected", news: undefined });
  });
});

describe("a browser that is banned", () => {
  it("is told, and does not come again", async () => {
    server.refuse = "banned";
    await stranger.start(openMedia, WISHES);
    await shows({ phase: "error", failure: "banned", live: false });
    expect(stream.tracks.every(({ stopped }) => stopped)).toBe(true);
  });
});

describe("text alone", () => {
  const TEXT: Wishes = { ...WISHES, mode: "text" };
  const noCamera = vi.fn(() => Promise.reject(new MediaUnavailable("camera_denied")));

  it("opens no camera and no connection, and carries lines both ways", async () => {
    await stranger.start(noCamera, TEXT);
    expect(await server.got("queue.join")).toEqual(TEXT);
    server.send("match.found", FOUND);
    const { pair } = await server.got("match.accept");
    await shows({ phase: "connecting", mode: "text" });
    server.send("match.start", { pair });
    await shows({ phase: "connected", pair, reportable: true });
    stranger.say("hello");
    expect(await server.got("chat.send")).toMatchObject({ pair, text: "hello" });
    server.send("chat.message", { pair, id: "1", text: "hi" });
    await vi.waitFor(() => {
      expect(stranger.snapshot.lines.map(({ text }) => text)).toEqual(["hello", "hi"]);
    });
    expect(noCamera).not.toHaveBeenCalled();
    expect(FakePeerConnection.all).toEqual([]);
    stranger.update({ ...WISHES, interests: [] });
    stranger.next();
    expect((await server.got("match.next")).join).toEqual({ ...TEXT, interests: [] });
  });
});

describe("from start to call", () => {
  it("joins the queue once both camera and server are there", async () => {
    const phases: string[] = [];
    stranger.subscribe(() => phases.push(stranger.snapshot.phase));
    await waiting();
    expect(server.all("queue.join")).toEqual([WISHES]);
    await shows({ phase: "waiting", live: true, localStream: stream });
    expect(phases[0]).toBe("starting");
  });

  it("accepts by itself and answers the partner's offer", async () => {
    const pc = await matched();
    await shows({ phase: "connecting", pair: FOUND.pair });
    server.send("signal", { pair: FOUND.pair, ...offer });
    expect(await server.got("signal")).toEqual({
      pair: FOUND.pair,
      seq: 1,
      gen: 0,
      description: { type: "answer", sdp: pc.localDescription?.sdp },
    });
  });

  it("ignores signals of another pair", async () => {
    const pc = await matched();
    server.send("signal", { pair: OTHER_PAIR, ...offer });
    server.send("signal", { pair: FOUND.pair, gen: 0, end: true });
    server.send("match.ended", { pair: OTHER_PAIR, reason: "left", state: "waiting" });
    server.send("queue.state", { state: "waiting", since: 1, widened: false });
    await stranger.start(openMedia, WISHES);
    await shows({ phase: "connecting" });
    expect(pc.remoteDescription).toBeNull();
  });

  it("shows and reports the path and the time to the first frame", async () => {
    await inCall(connectedReport("relay", "srflx", 1));
    await shows({ path: "relayed", firstFrameMs: expect.any(Number) as number });
    expect(await server.got("pair.stats")).toEqual({
      pair: FOUND.pair,
      state: "connected",
      local: "relay",
      remote: "srflx",
      relayProtocol: "udp",
      ttfmMs: expect.any(Number) as number,
      rttMs: 40,
    });
  });

  it("takes the first frame from the page when that is earlier", async () => {
    await inCall(connectedReport("host", "host", 0));
    expect(stranger.snapshot.firstFrameMs).toBeUndefined();
    stranger.frameDecoded(fakeStream(), performance.now());
    expect(stranger.snapshot.firstFrameMs).toBeUndefined();
    stranger.frameDecoded(stranger.snapshot.remoteStream!, performance.now() + 5000);
    expect(stranger.snapshot.firstFrameMs).toBeGreaterThanOrEqual(5000);
    await shows({ path: "direct" });
    await server.got("pair.stats");
  });

  it("uses the relay alone when the user hides the address, whatever the server says", async () => {
    void stranger.start(openMedia, { ...WISHES, privacy: "relay" });
    await server.got("queue.join");
    server.send("match.found", { ...FOUND, ice: { ...FOUND.ice, iceTransportPolicy: "all" } });
    await server.got("match.accept");
    expect(FakePeerConnection.all[0]!.configurations[0]).toMatchObject({
      iceTransportPolicy: "relay",
    });
  });

  it("renews the credentials in time", async () => {
    const ice = { ...FOUND.ice, ttl: 60, refreshAfter: 0, expiresAt: 1 };
    const fresh = { ...FOUND.ice, iceServers: [{ urls: ["stun:198.18.0.2:3478"] }] };
    server.answers["ice.refresh"] = () => ({ ok: true, ice: fresh });
    const pc = await matched({ ice });
    expect(await server.got("ice.refresh")).toEqual({ pair: FOUND.pair });
    await vi.waitFor(() => {
      expect(pc.configurations.at(-1)?.iceServers).toEqual(fresh.iceServers);
    });
  });

  it("applies changed wishes at once while waiting", async () => {
    await waiting();
    stranger.update({ mode: "text", interests: [], privacy: "relay" });
    expect(await server.got("queue.join", 2)).toEqual({
      mode: "video",
      interests: [],
      privacy: "relay",
    });
  });
});

describe("the text beside a call", () => {
  it("goes to the partner, also after a lost socket, and comes from it", async () => {
    await inCall();
    stranger.typing(true);
    stranger.typing(true);
    expect(await server.got("chat.typing")).toEqual({ pair: FOUND.pair, on: true });
    stranger.say("  hello ");
    expect(await server.got("chat.send")).toEqual({ pair: FOUND.pair, id: "1", text: "hello" });
    await shows({ lines: [{ id: "1", from: "you", text: "hello", state: "sent" }] });
    server.send("chat.typing", { pair: FOUND.pair, on: true });
    await shows({ partnerTyping: true });
    server.send("chat.message", { pair: FOUND.pair, id: "1", text: "hi" });
    await shows({ partnerTyping: false });
    server.cut();
    await shows({ serverAway: true });
    stranger.say("   ");
    stranger.say("still there?");
    await shows({ serverAway: false });
    await server.got("chat.send", 2);
    await shows({
      lines: [
        { id: "1", from: "you", text: "hello", state: "sent" },
        { id: "1", from: "partner", text: "hi", state: "sent" },
        { id: "2", from: "you", text: "still there?", state: "sent" },
      ],
    });
    expect(server.all("chat.typing")).toHaveLength(1);
  });

  it("is cut to what the server takes, and ends with the pair", async () => {
    await inCall();
    stranger.say("ü".repeat(1500));
    expect(await server.got("chat.send")).toMatchObject({ text: "ü".repeat(1024) });
    server.answers["chat.send"] = () => ({ ok: false, code: "not_in_pair" });
    stranger.say("too late");
    await vi.waitFor(() => {
      expect(stranger.snapshot.lines.map(({ state }) => state)).toEqual(["sent", "failed"]);
    });
    server.send("match.ended", { pair: FOUND.pair, reason: "left", state: "idle" });
    await shows({ lines: [], phase: "waiting" });
  });
});

describe("the end of a call", () => {
  it.each([
    ["next", "partner_next"],
    ["left", "partner_left"],
    ["lost", "partner_lost"],
  ] as const)("by the partner (%s) is told, and another is looked for", async (reason, news) => {
    const pc = await inCall();
    server.send("match.ended", { pair: FOUND.pair, reason, state: "idle" });
    await server.got("queue.join", 2);
    await shows({ phase: "waiting", news, pair: undefined, remoteStream: undefined });
    expect(pc.connectionState).toBe("closed");
  });

  it("before the start is not worth telling, and the server has queued us already", async () => {
    await waiting();
    server.send("match.found", FOUND);
    await server.got("match.accept");
    server.send("match.ended", { pair: FOUND.pair, reason: "expired", state: "waiting" });
    await shows({ phase: "waiting", news: undefined });
    stranger.stop();
    await server.got("bye");
    expect(server.all("queue.join")).toHaveLength(1);
  });

  it("by next takes the wishes along", async () => {
    const pc = await inCall();
    stranger.update({ mode: "video", interests: ["film"], privacy: "all" });
    stranger.next();
    expect(stranger.snapshot).toMatchObject({ phase: "waiting", pair: undefined });
    expect(pc.connectionState).toBe("closed");
    expect(await server.got("match.next")).toEqual({
      pair: FOUND.pair,
      join: { mode: "video", interests: ["film"], privacy: "all" },
    });
  });

  it("by next just after the partner went joins again", async () => {
    server.answers["match.next"] = () => ({ ok: false, code: "not_in_pair" });
    await inCall();
    stranger.next();
    await server.got("queue.join", 2);
  });

  it("that could not connect waits for next", async () => {
    vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout"], shouldAdvanceTime: true });
    onTestFinished(() => {
      vi.useRealTimers();
    });
    await matched({ role: "initiator", polite: false });
    await server.got("signal");
    vi.advanceTimersByTime(20_000);
    await shows({ phase: "ended", news: "call_failed", live: true });
    expect(await server.got("pair.stats")).toEqual({ pair: FOUND.pair, state: "failed" });
    expect(await server.got("match.leave")).toEqual({ pair: FOUND.pair });
    server.send("match.ended", { pair: FOUND.pair, reason: "left", state: "idle" });
    expect(server.all("queue.join")).toHaveLength(1);
    stranger.next();
    await server.got("queue.join", 2);
    await shows({ phase: "waiting", news: undefined });
  });

  it("comes at once when only the relay may be used and there is none", async () => {
    void stranger.start(openMedia, { ...WISHES, privacy: "relay" });
    await server.got("queue.join");
    server.send("match.found", fixture("match.found", "relay unavailable"));
    expect(await server.got("match.leave")).toEqual({ pair: FOUND.pair });
    await shows({ phase: "ended", news: "relay_unavailable" });
    expect(FakePeerConnection.all).toEqual([]);
  });

  it("by stop says goodbye and closes everything", async () => {
    const pc = await inCall();
    stranger.stop();
    expect(stranger.snapshot).toMatchObject({ phase: "idle", live: false, localStream: undefined });
    expect(stream.tracks.every(({ stopped }) => stopped)).toBe(true);
    expect(pc.connectionState).toBe("closed");
    await server.got("bye");
  });
});

describe("what goes wrong", () => {
  it("a camera that is refused ends the session", async () => {
    await stranger.start(() => Promise.reject(new MediaUnavailable("camera_denied")), WISHES);
    expect(stranger.snapshot).toMatchObject({
      phase: "error",
      failure: "camera_denied",
      live: false,
    });
    await waiting();
    await shows({ phase: "waiting", failure: undefined });
  });

  it("a camera that opens after stop is closed again", async () => {
    let open: (stream: MediaStream) => void = () => undefined;
    const opening = new Promise<MediaStream>((resolve) => (open = resolve));
    const started = stranger.start(() => opening, WISHES);
    stranger.stop();
    open(stream);
    await started;
    expect(stream.tracks.every(({ stopped }) => stopped)).toBe(true);
    expect(stranger.snapshot).toMatchObject({ phase: "idle", localStream: undefined });
  });

  it("a camera that is unplugged ends the session", async () => {
    await waiting();
    stream.tracks[1]!.onended?.();
    expect(stranger.snapshot).toMatchObject({ phase: "error", failure: "camera_lost" });
  });

  it("a server that cannot be reached is tried until it answers", async () => {
    await server.close();
    void stranger.start(openMedia, WISHES);
    await shows({ phase: "error", failure: "server_unreachable", live: true });
    server = await ScriptedServer.listen(server.port);
    await server.got("queue.join");
    await shows({ phase: "waiting", failure: undefined });
  });

  it("a lost socket is told while the call goes on, and the session with it", async () => {
    const pc = await inCall();
    server.resumed = { state: "active", pair: FOUND.pair };
    server.cut();
    await shows({ phase: "connected", serverAway: true, pair: FOUND.pair });
    await shows({ phase: "connected", serverAway: false, pair: FOUND.pair });
    expect(pc.connectionState).toBe("connected");
    expect([server.sessions, server.resumes]).toEqual([1, 1]);
  });

  it("a socket that is lost while connecting brings the negotiation to its end", async () => {
    const pc = await matched();
    server.resumed = { state: "active", pair: FOUND.pair };
    server.cut();
    await shows({ phase: "reconnecting", pair: FOUND.pair });
    server.send("signal", { pair: FOUND.pair, ...offer });
    expect(await server.got("signal")).toMatchObject({ seq: 1, description: { type: "answer" } });
    expect(pc.remoteDescription).toMatchObject({ type: "offer" });
  });

  it("a partner without a socket is told until it is back", async () => {
    await inCall();
    const peer = { pair: FOUND.pair, graceMs: 15_000 };
    server.send("peer.state", { ...peer, state: "reconnecting" });
    await shows({ phase: "connected", partnerAway: true });
    server.send("peer.state", { ...peer, state: "back" });
    await shows({ phase: "connected", partnerAway: false });
    server.send("peer.state", { ...peer, pair: OTHER_PAIR, state: "reconnecting" });
    server.send("peer.state", { ...peer, state: "reconnecting" });
    server.send("match.ended", { pair: FOUND.pair, reason: "lost", state: "idle" });
    await shows({ phase: "waiting", partnerAway: false, news: "partner_lost" });
  });

  it("what ended while the socket was lost is told, and another partner is looked for", async () => {
    await inCall();
    server.cut();
    await shows({ serverAway: true });
    server.send("match.ended", { pair: FOUND.pair, reason: "next", state: "idle" });
    await server.got("queue.join", 2);
    await shows({ phase: "waiting", news: "partner_next", pair: undefined, serverAway: false });
  });

  it("a session that is gone is lost with its call, and the new one looks for a partner", async () => {
    const pc = await inCall();
    server.forgetful = true;
    server.cut();
    await server.got("queue.join", 2);
    await shows({ phase: "waiting", news: "partner_lost", pair: undefined });
    expect(pc.connectionState).toBe("closed");
  });

  it("a page of another version says so and stops", async () => {
    server.refuse = "unsupported_version";
    void stranger.start(openMedia, WISHES);
    await shows({ phase: "error", failure: "page_outdated", live: false });
    expect(stream.tracks.every(({ stopped }) => stopped)).toBe(true);
  });

  it("a draining server is left when it says, but not in a call", async () => {
    await inCall();
    server.send("notice", { kind: "draining", reconnectInMs: 10 });
    await shows({ phase: "connected", news: "draining" });
    server.answers["queue.join"] = () => ({ ok: false, code: "draining" });
    server.send("match.ended", { pair: FOUND.pair, reason: "drain", state: "idle" });
    await server.got("queue.join", 2);
    expect(server.sessions).toBe(1);
    server.send("notice", { kind: "draining", reconnectInMs: 10 });
    delete server.answers["queue.join"];
    await server.until(() => server.resumes === 1);
    await server.got("queue.join", 3);
    await shows({ phase: "waiting", news: undefined });
  });
});

it("microphone and camera keep their switch through the session", async () => {
  stranger.setMicrophone(false);
  await waiting();
  await shows({ localStream: stream, microphone: false, camera: true });
  const [audio, video] = stream.tracks;
  expect([audio?.enabled, video?.enabled]).toEqual([false, true]);
  stranger.setCamera(false);
  expect(video?.enabled).toBe(false);
});

it("the snapshot stays the same object until something changes", async () => {
  const before = stranger.snapshot;
  expect(stranger.snapshot).toBe(before);
  await waiting();
  expect(stranger.snapshot).not.toBe(before);
});
