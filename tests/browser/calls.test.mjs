// Whole calls: the real binary, real browsers, real NATs.

import assert from "node:assert/strict";
import { join } from "node:path";
import { test } from "node:test";

import { SERVER } from "./lab/network.mjs";
import { legs } from "./lab/pcap.mjs";
import { call, pictures, scene, videoFlows } from "./lab/scene.mjs";

const LEGS = ["client_in", "client_out", "peer_in", "peer_out"];

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
    const peerIn = { counted: 0, captured: 0 };
    for (const closed of turnpike.allocations("allocation closed", pair)) {
      const ends = { transport: closed.transport, client: closed.client, listener: `${SERVER}:3478`, relayed: closed.relayed };
      const seen = legs(capture, ends);
      const counted = Object.fromEntries(LEGS.map((leg) => [leg, closed[`${leg}_bytes`]]));
      console.log(`${closed.client}: counted ${JSON.stringify(counted)} hairpin ${closed.hairpin_bytes}, captured ${JSON.stringify(seen)}`);
      // What goes from relay to relay within the process is on no wire: out of it on one allocation, into it on another.
      const wire = { ...counted, peer_out: counted.peer_out - closed.hairpin_bytes };
      peerIn.counted += counted.peer_in - closed.hairpin_bytes;
      peerIn.captured += seen.peer_in;
      for (const leg of ["client_in", "client_out", "peer_out"]) {
        // The 401 round and the Allocate itself come before the allocation that could count them; over TCP, the segments
        // that open and close the connection are none of its own either.
        const ofClient = closed.transport === "udp" ? 600 : 2_000;
        const before = leg === "client_in" || leg === "client_out" ? ofClient : 0;
        const off = Math.abs(wire[leg] - seen[leg]);
        assert.ok(off <= seen[leg] * 0.01 + before, `${leg}: counted ${wire[leg]}, captured ${seen[leg]}`);
      }
      if (LEGS.every((leg) => counted[leg] > 50_000)) carried += 1;
    }
    assert.ok(Math.abs(peerIn.counted - peerIn.captured) <= peerIn.captured * 0.01, JSON.stringify(peerIn));
    assert.ok(carried >= 1, "one allocation carried the media on all four counters");
  });
});

test("behind port-preserving NATs the call is direct, and the relay carries only checks", async () => {
  await scene("direct", ["preserving", "preserving"], async ([a, b], turnpike) => {
    const times = await call([a, b]);
    console.log(`direct: first frame after ${times.join(" and ")} ms`);
    await Promise.all([a.onPath("direct"), b.onPath("direct")]);
    const pair = await a.pair();
    const relayed = async () => {
      const books = await turnpike.books(pair);
      return books.reduce((sum, book) => LEGS.reduce((bytes, leg) => bytes + book[leg].bytes, sum), 0);
    };
    const [started, before] = [Date.now(), await relayed()];
    const stats = await videoFlows([a, b], 10);
    assert.ok(stats.every(({ local, remote }) => local !== "relay" && remote !== "relay"), JSON.stringify(stats));
    const [minutes, bytes] = [(Date.now() - started) / 60_000, (await relayed()) - before];
    console.log(`direct: the relay carried ${bytes} bytes in ${(minutes * 60).toFixed(1)} s, and ${before} before`);
    assert.ok(bytes / minutes < 50_000, `${bytes} bytes`);
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
