// Whole calls: the real binary, real browsers, real NATs.

import assert from "node:assert/strict";
import { mkdtempSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { setTimeout as pause } from "node:timers/promises";

import { Network, SERVER } from "./lab/network.mjs";
import { legs } from "./lab/pcap.mjs";
import { Stranger } from "./lab/stranger.mjs";
import { Turnpike } from "./lab/turnpike.mjs";

const LEGS = ["client_in", "client_out", "peer_in", "peer_out"];
const pictures = mkdtempSync(join(tmpdir(), "turnpike-pictures-"));
after(() => console.log(`pictures of the calls: ${pictures}`));

/** Runs a scene with so many people behind routers of one kind, and cleans up whatever happens. */
async function scene(name, kinds, play) {
  const network = new Network();
  const people = [];
  let turnpike;
  try {
    turnpike = await Turnpike.start(network);
    for (const [n, kind] of kinds.entries()) people.push(await Stranger.arrive(network.home(n + 1, kind)));
    await play(people, turnpike);
    for (const person of people) assert.deepEqual(person.errors, [], "the page logs no error");
  } catch (error) {
    console.log(turnpike?.tail());
    throw error;
  } finally {
    for (const [n, person] of people.entries()) {
      await person.page.screenshot({ path: join(pictures, `${name}-${n + 1}.png`) }).catch(() => {});
      await person.leave();
    }
    await turnpike?.close();
    network.close();
  }
}

async function call([a, b]) {
  await Promise.all([a.press("Start"), b.press("Start")]);
  await Promise.all([a.connected(), b.connected()]);
  const times = await Promise.all([a.firstFrameMs(), b.firstFrameMs()]);
  return times;
}

async function videoFlows(people, seconds) {
  let before = await Promise.all(people.map((person) => person.stats()));
  for (let second = 0; second < seconds; second += 1) {
    await pause(1000);
    const now = await Promise.all(people.map((person) => person.stats()));
    now.forEach((stats, n) => assert.ok(stats.frames > before[n].frames, `side ${n + 1} decodes in second ${second}`));
    before = now;
  }
  return before;
}

test("behind symmetric NATs the call is relayed, and every byte of it is counted", async () => {
  await scene("relayed", ["symmetric", "symmetric"], async ([a, b], turnpike) => {
    const times = await call([a, b]);
    console.log(`relayed: first frame after ${times.join(" and ")} ms`);
    const stats = await videoFlows([a, b], 6);
    assert.ok(stats.some(({ local }) => local === "relay"), JSON.stringify(stats));
    assert.equal(await a.path(), "relayed");
    assert.equal(await b.path(), "relayed");
    await Promise.all([a, b].map((p, n) => p.page.screenshot({ path: join(pictures, `relayed-call-${n + 1}.png`) })));

    const pair = await a.pair();
    const opened = turnpike.allocations("allocation opened", pair);
    assert.ok(opened.length >= 1);
    await Promise.all([a.press("Stop"), b.press("Stop")]);
    for (const { id } of opened) {
      await turnpike.line((entry) => entry.message === "allocation closed" && entry.id === id);
    }
    const capture = await turnpike.capture();
    let carried = 0;
    for (const closed of turnpike.allocations("allocation closed", pair)) {
      const ends = { client: closed.client, listener: `${SERVER}:3478`, relayed: closed.relayed };
      const seen = legs(capture, ends);
      const counted = Object.fromEntries(LEGS.map((leg) => [leg, closed[`${leg}_bytes`]]));
      console.log(`${closed.client}: counted ${JSON.stringify(counted)} hairpin ${closed.hairpin_bytes}, captured ${JSON.stringify(seen)}`);
      // What goes from relay to relay within the process is on no wire: out of it on one side, into it on the other.
      const partners = turnpike.allocations("allocation closed", pair).filter(({ id }) => id !== closed.id);
      const hairpinIn = partners.reduce((sum, partner) => sum + partner.hairpin_bytes, 0);
      const wire = { ...counted, peer_out: counted.peer_out - closed.hairpin_bytes, peer_in: counted.peer_in - hairpinIn };
      for (const leg of LEGS) {
        // The 401 round and the Allocate itself come before the allocation that could count them.
        const before = leg === "client_in" || leg === "client_out" ? 600 : 0;
        const off = Math.abs(wire[leg] - seen[leg]);
        assert.ok(off <= seen[leg] * 0.01 + before, `${leg}: counted ${wire[leg]}, captured ${seen[leg]}`);
      }
      if (LEGS.every((leg) => counted[leg] > 50_000)) carried += 1;
    }
    assert.ok(carried >= 1, "one allocation carried the media on all four counters");
  });
});

test("behind port-preserving NATs the call is direct, and the relay carries only checks", async () => {
  await scene("direct", ["preserving", "preserving"], async ([a, b], turnpike) => {
    const times = await call([a, b]);
    console.log(`direct: first frame after ${times.join(" and ")} ms`);
    assert.equal(await a.path(), "direct");
    assert.equal(await b.path(), "direct");
    const started = Date.now();
    const stats = await videoFlows([a, b], 10);
    assert.ok(stats.every(({ local, remote }) => local !== "relay" && remote !== "relay"), JSON.stringify(stats));
    const pair = await a.pair();
    const opened = turnpike.allocations("allocation opened", pair);
    const minutes = (Date.now() - started) / 60_000;
    await Promise.all([a.press("Stop"), b.press("Stop")]);
    let bytes = 0;
    for (const { id } of opened) {
      const closed = await turnpike.line((entry) => entry.message === "allocation closed" && entry.id === id);
      bytes += LEGS.reduce((sum, leg) => sum + closed[`${leg}_bytes`], 0);
    }
    console.log(`direct: the relay carried ${bytes} bytes in ${(minutes * 60).toFixed(1)} s, set-up included`);
    assert.ok(bytes / minutes < 50_000 * Math.max(1, 1 / minutes), `${bytes} bytes`);
  });
});

test("next tells both sides, and both meet someone new", async () => {
  await scene("next", ["preserving", "preserving", "preserving", "preserving"], async ([a, b, c, d]) => {
    await call([a, b]);
    const pair = await a.pair();
    await c.press("Start");
    await c.page.locator('[data-testid="status"][data-state="waiting"]').waitFor();
    await a.press("Next");
    const again = await a.pairOtherThan(pair);
    await c.connected();
    assert.equal(await c.pair(), again, "who pressed next meets the one who waits");
    await b.page.waitForFunction((before) => globalThis.document.querySelector("[data-partner]")?.dataset.partner !== before, pair);
    await d.press("Start");
    const other = await b.pairOtherThan(pair);
    await d.connected();
    assert.equal(await d.pair(), other, "who was left meets the next to come");
    assert.notEqual(again, other);
  });
});
