// Two strangers on socket.io-client go through the whole contract of a server; each step is printed as it is done.

import assert from "node:assert/strict";

import { io } from "socket.io-client";

const SOON = 20_000;
const URL = process.argv[2];
const SDP = "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\na=ice-ufrag:x\r\na=fingerprint:sha-256 AA\r\n";
const JOIN = { mode: "video", interests: ["Node"], privacy: "all" };

/** A client, and the events that have come to it, numbered without a gap. */
class Stranger {
  #events = [];
  #wake = () => {};
  seq = 0;
  auth = { v: 1 };

  constructor() {
    const options = { transports: ["websocket"], reconnectionDelay: 200, forceNew: true };
    this.socket = io(URL, { ...options, auth: (give) => give(this.auth) });
    this.socket.onAny((name, payload) => {
      if (name !== "session.resumed") this.seq += 1;
      assert.equal(payload.seq, this.seq, name);
      this.#events.push([name, payload]);
      this.#wake();
    });
  }

  /** The next event of this name; others are passed over. */
  async event(name) {
    for (;;) {
      while (this.#events.length > 0) {
        const [came, payload] = this.#events.shift();
        if (came === name) return payload;
      }
      await new Promise((wake, failed) => {
        const late = setTimeout(() => failed(new Error(`no ${name}`)), SOON);
        this.#wake = () => (clearTimeout(late), wake());
      });
    }
  }

  ask(name, payload) {
    return this.socket.timeout(SOON).emitWithAck(name, payload);
  }

  async done(name, payload) {
    const answer = await this.ask(name, payload);
    assert.equal(answer.ok, true, `${name}: ${JSON.stringify(answer)}`);
    return answer;
  }
}

const [a, b] = [new Stranger(), new Stranger()];
const both = (each) => Promise.all([a, b].map(each));
const [hello] = await both((one) => one.event("hello"));
assert.deepEqual(hello.ice.iceServers.map(Object.keys), [["urls"]], "STUN only");
console.log("hello");

await a.done("queue.join", JOIN);
assert.equal((await a.event("queue.state")).state, "waiting");
assert.equal((await a.done("queue.leave", {})).result, "left");
await a.done("queue.join", JOIN);
await b.done("queue.join", JOIN);
const [toA, toB] = await both((one) => one.event("match.found"));
const { pair } = toA;
assert.deepEqual([toA.role, toB.role, toB.polite, toB.pair], ["initiator", "responder", true, pair]);
assert.deepEqual(toA.common, ["node"]);
assert.ok(toA.ice.iceServers[1].credential, "TURN for a pair");
console.log("match.found");

await both((one) => one.done("match.accept", { pair }));
await both((one) => one.event("match.start"));
console.log("match.start");

const signal = (seq, body) => ({ pair, seq, gen: 0, ...body });
const refused = await b.ask("signal", signal(1, { description: { type: "offer", sdp: SDP } }));
assert.deepEqual(refused, { ok: false, code: "not_initiator" });
await a.done("signal", signal(1, { description: { type: "offer", sdp: SDP } }));
assert.equal((await b.event("signal")).description.type, "offer");
await b.done("signal", signal(2, { description: { type: "answer", sdp: SDP } }));
assert.equal((await a.event("signal")).description.type, "answer");
for (let number = 0; number < 10; number += 1) {
  const candidate = `candidate:${number} 1 udp 1 198.18.0.2 ${1000 + number} typ host`;
  a.socket.emit("signal", signal(2 + number, { candidates: [{ candidate }] }), () => {});
}
for (let number = 0; number < 10; number += 1) {
  const { candidates } = await b.event("signal");
  assert.ok(candidates[0].candidate.startsWith(`candidate:${number} `), candidates[0].candidate);
}
await a.done("signal", signal(12, { end: true }));
assert.equal((await b.event("signal")).end, true);
console.log("signal");

await a.done("chat.typing", { pair, on: true });
assert.equal((await b.event("chat.typing")).on, true);
await a.done("chat.send", { pair, id: "one", text: "good \u202eday" });
assert.equal((await b.event("chat.message")).text, "good day");
console.log("chat");

await a.done("pair.stats", { pair, state: "connected", local: "host", remote: "srflx", ttfmMs: 420, rttMs: 12 });
assert.ok((await a.done("ice.refresh", { pair })).ice.iceServers[1].credential);
console.log("ice.refresh");

a.auth = { v: 1, resume: { id: hello.resume, lastSeq: a.seq } };
a.socket.io.engine.close();
assert.equal((await b.event("peer.state")).state, "reconnecting");
await b.done("chat.send", { pair, id: "two", text: "still there?" });
const resumed = await a.event("session.resumed");
assert.deepEqual([resumed.pair, resumed.lastClientSeq], [pair, 12]);
assert.equal((await a.event("chat.message")).text, "still there?");
assert.equal((await b.event("peer.state")).state, "back");
console.log("session.resumed");

await a.done("match.next", { pair, join: JOIN });
const ended = await both((one) => one.event("match.ended"));
assert.deepEqual(ended.map(({ reason }) => reason), ["next", "next"]);
await both((one) => one.done("bye", {}));
await both((one) => one.socket.close());
console.log("bye");
