import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";

import type { Ice, Role, SignalBody } from "../src/contract.ts";
import { type LinkState, PeerLink } from "../src/peer-link.ts";
import { FakePeerConnection, FakeTrack, fakeStream, useFakeRtc } from "./support/fake-rtc.ts";
import { fixture } from "./support/schema.ts";

const ICE: Ice = fixture("match.found", "initiator").ice;
const host = (n: number) => ({ candidate: `candidate:${n} typ host`, type: "host" as const });
const relay = (n: number) => ({ candidate: `candidate:${n} typ relay`, type: "relay" as const });

interface Side {
  link: PeerLink;
  pc: FakePeerConnection;
  sent: SignalBody[];
  states: LinkState[];
}

beforeEach(() => {
  vi.useFakeTimers();
  useFakeRtc();
});

afterEach(() => {
  vi.useRealTimers();
});

/** One side; what it sends goes to `deliver`. */
function side(role: Role, deliver?: (body: SignalBody) => void, stream = fakeStream()): Side {
  const sent: SignalBody[] = [];
  const states: LinkState[] = [];
  const link = new PeerLink({
    role,
    polite: role === "responder",
    ice: ICE,
    stream,
    send: (body) => {
      sent.push(body);
      deliver?.(body);
    },
  });
  link.on("state", (state) => states.push(state));
  return { link, pc: FakePeerConnection.all.at(-1)!, sent, states };
}

/** Two sides whose signals take 10 ms. */
function couple(): { initiator: Side; responder: Side } {
  const travel = (to: () => Side) => (body: SignalBody) =>
    setTimeout(() => {
      to().link.receive(body);
    }, 10);
  const initiator: Side = side(
    "initiator",
    travel(() => responder),
  );
  const responder: Side = side(
    "responder",
    travel(() => initiator),
  );
  initiator.link.open();
  responder.link.open();
  return { initiator, responder };
}

const pass = (ms: number) => vi.advanceTimersByTimeAsync(ms);

function kinds(sent: SignalBody[]): string[] {
  return sent.map((body) =>
    "description" in body ? body.description.type : "candidates" in body ? "candidates" : "end",
  );
}

function descriptions(pc: FakePeerConnection): unknown[] {
  return [pc.signalingState, pc.localDescription?.sdp, pc.remoteDescription?.sdp];
}

describe("before the match starts", () => {
  it("the initiator gathers, but sends nothing until both agreed", async () => {
    const { link, pc, sent } = side("initiator");
    await pass(5);
    pc.gather(host(1));
    pc.gather(null);
    expect(pc.signalingState).toBe("have-local-offer");
    expect(sent).toEqual([]);
    link.open();
    expect(kinds(sent)).toEqual(["offer", "candidates", "end"]);
  });

  it("the responder makes no offer of its own", async () => {
    const { link, pc, sent } = side("responder");
    link.open();
    await pass(50);
    expect([pc.signalingState, sent]).toEqual(["stable", []]);
  });

  it("the connection is bundled and uses the servers of the match", () => {
    const { pc } = side("initiator");
    expect(pc.configurations).toEqual([
      {
        iceServers: ICE.iceServers,
        iceTransportPolicy: ICE.iceTransportPolicy,
        bundlePolicy: "max-bundle",
      },
    ]);
  });
});

describe("negotiation", () => {
  it("settles with one offer and one answer", async () => {
    const { initiator, responder } = couple();
    await pass(100);
    expect(kinds(initiator.sent)).toEqual(["offer"]);
    expect(kinds(responder.sent)).toEqual(["answer"]);
    const [, local, remote] = descriptions(initiator.pc);
    expect(descriptions(responder.pc)).toEqual(["stable", remote, local]);
  });

  it("a side without a microphone still asks to hear", async () => {
    const add = vi.spyOn(FakePeerConnection.prototype, "addTransceiver");
    side("initiator", undefined, fakeStream([new FakeTrack("video")]));
    await pass(5);
    expect(add).toHaveBeenCalledExactlyOnceWith("audio", { direction: "recvonly" });
  });

  it("survives offers of both sides at once: the polite one yields, then offers again", async () => {
    const { initiator, responder } = couple();
    await pass(100);
    initiator.pc.renegotiate();
    responder.pc.renegotiate();
    await pass(200);
    expect(kinds(initiator.sent)).toEqual(["offer", "offer", "answer"]);
    expect(kinds(responder.sent)).toEqual(["answer", "offer", "answer", "offer"]);
    const [, local, remote] = descriptions(initiator.pc);
    expect(descriptions(responder.pc)).toEqual(["stable", remote, local]);
    expect([...initiator.states, ...responder.states]).toEqual([]);
  });

  it("ignores late and double answers", async () => {
    const { initiator, responder } = couple();
    await pass(100);
    const before = descriptions(initiator.pc);
    initiator.link.receive(responder.sent[0]!);
    initiator.link.receive({ gen: 0, description: { type: "answer", sdp: "v=0 late" } });
    await pass(50);
    expect(descriptions(initiator.pc)).toEqual(before);
    expect(initiator.states).toEqual([]);
  });

  it("ignores the answer to an offer before the restart", async () => {
    const { link, pc, sent } = side("initiator");
    link.open();
    await pass(5);
    link.receive({ gen: 0, description: { type: "answer", sdp: "v=0 first" } });
    await pass(5);
    link.restart();
    await pass(5);
    expect(sent.map(({ gen }) => gen)).toEqual([0, 1]);
    link.receive({ gen: 0, description: { type: "answer", sdp: "v=0 old" } });
    link.receive({ gen: 1, description: { type: "answer", sdp: "v=0 new" } });
    await pass(5);
    expect(descriptions(pc)).toEqual(["stable", expect.any(String), "v=0 new"]);
  });

  it("fails the link when a description cannot be applied", async () => {
    const { link, states, pc } = side("responder");
    link.open();
    vi.spyOn(pc, "setRemoteDescription").mockRejectedValue(new Error("no codec in common"));
    link.receive({ gen: 0, description: { type: "offer", sdp: "v=0" } });
    await pass(5);
    expect(states).toEqual(["failed"]);
  });
});

describe("candidates of the partner", () => {
  const candidates = (gen: number, ...numbers: number[]): SignalBody => ({
    gen,
    candidates: numbers.map((n) => ({ candidate: host(n).candidate })),
  });
  const offer = (gen: number): SignalBody => ({
    gen,
    description: { type: "offer", sdp: `v=0 gen${gen}` },
  });

  it("wait for the description that they belong to", async () => {
    const { link, pc } = side("responder");
    link.receive(candidates(0, 1, 2));
    link.receive({ gen: 0, end: true });
    await pass(20);
    expect(pc.added).toEqual([]);
    link.receive(offer(0));
    await pass(20);
    expect(pc.added).toEqual([host(1).candidate, host(2).candidate, null]);
  });

  it("of a restart wait for its offer, those before it are dropped", async () => {
    const { link, pc } = side("responder");
    link.receive(offer(0));
    link.receive(candidates(1, 1));
    link.receive(offer(1));
    link.receive(candidates(0, 2));
    await pass(20);
    expect(pc.added).toEqual([host(1).candidate]);
    expect(pc.remoteDescription?.sdp).toBe("v=0 gen1");
  });

  it("that the browser refuses do not end the call", async () => {
    const { link, pc, states } = side("responder");
    link.receive(offer(0));
    await pass(10);
    vi.spyOn(pc, "addIceCandidate").mockRejectedValueOnce(new Error("unknown ufrag"));
    link.receive(candidates(0, 1, 2));
    await pass(10);
    expect(pc.added).toEqual([host(2).candidate]);
    expect(states).toEqual([]);
  });
});

describe("own candidates", () => {
  it("leave together, and the end after them", async () => {
    const { link, pc, sent } = side("initiator");
    link.open();
    await pass(5);
    pc.gather(host(1));
    pc.gather(host(2));
    await pass(10);
    pc.gather(relay(3));
    pc.gather(null);
    expect(kinds(sent)).toEqual(["offer", "candidates", "candidates", "end"]);
    expect(sent[1]).toMatchObject({ candidates: [{ candidate: host(1).candidate }, {}] });
  });

  it("that no browser can use are left out", async () => {
    const { link, pc, sent } = side("initiator");
    link.open();
    await pass(5);
    pc.gather({ ...host(1), tcpType: "active" });
    pc.gather({ candidate: "" });
    await pass(20);
    expect(kinds(sent)).toEqual(["offer"]);
  });

  it("stay within what the server takes, with room for the relay's", async () => {
    const { link, pc, sent } = side("initiator");
    link.open();
    await pass(5);
    for (let n = 0; n < 70; n += 1) pc.gather(host(n));
    for (let n = 70; n < 90; n += 1) pc.gather(relay(n));
    await pass(20);
    const lines = sent.flatMap((body) => ("candidates" in body ? body.candidates : []));
    expect(lines).toHaveLength(64);
    expect(lines.filter(({ candidate }) => candidate.endsWith("relay"))).toHaveLength(16);
  });
});

describe("a lost connection", () => {
  async function connected(): Promise<{ initiator: Side; responder: Side }> {
    const both = couple();
    await pass(100);
    both.initiator.pc.connection("connected");
    both.responder.pc.connection("connected");
    return both;
  }

  it("is restarted at once when it failed, by the initiator alone", async () => {
    const { initiator, responder } = await connected();
    initiator.pc.connection("failed");
    responder.pc.connection("failed");
    await pass(100);
    expect(initiator.sent.map(({ gen }) => gen)).toEqual([0, 1]);
    expect(responder.sent.map(({ gen }) => gen)).toEqual([0, 1]);
    expect(kinds(responder.sent)).toEqual(["answer", "answer"]);
    initiator.pc.connection("connected");
    expect(initiator.states).toEqual(["connected", "reconnecting", "connected"]);
  });

  it("is restarted when it stays disconnected for two seconds", async () => {
    const { initiator } = await connected();
    initiator.pc.connection("disconnected");
    await pass(1900);
    expect(initiator.pc.offered).toHaveLength(1);
    await pass(200);
    expect(initiator.pc.offered).toHaveLength(2);
  });

  it("is left alone when it comes back before that", async () => {
    const { initiator } = await connected();
    initiator.pc.connection("disconnected");
    await pass(1900);
    initiator.pc.connection("connected");
    await pass(60_000);
    expect(initiator.pc.offered).toHaveLength(1);
    expect(initiator.states).toEqual(["connected", "reconnecting", "connected"]);
  });

  it("is given up after 20 seconds", async () => {
    const { initiator } = await connected();
    initiator.pc.connection("disconnected");
    await pass(20_000);
    expect(initiator.states).toEqual(["connected", "reconnecting", "failed"]);
  });

  it("that never came about is given up 20 seconds after the start", async () => {
    const { link, states } = side("responder");
    await pass(30_000);
    expect(states).toEqual([]);
    link.open();
    await pass(20_000);
    expect(states).toEqual(["failed"]);
  });
});

it("fresh credentials are put in place without a restart", async () => {
  const { link, pc } = side("initiator");
  link.open();
  await pass(5);
  link.refresh({ ...ICE, iceServers: [] });
  await pass(50);
  expect(pc.configurations.at(-1)?.iceServers).toEqual([]);
  expect(pc.offered).toHaveLength(1);
});

it("a closed link stays silent", async () => {
  const { link, pc, sent, states } = side("initiator");
  link.open();
  link.close();
  pc.gather(host(1));
  link.receive({ gen: 0, end: true });
  await pass(30_000);
  expect([pc.connectionState, sent, states]).toEqual(["closed", [], []]);
});
