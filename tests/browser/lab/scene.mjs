// People, a node and a network, brought together and cleaned up behind.

import assert from "node:assert/strict";
import { mkdtempSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after } from "node:test";
import { setTimeout as pause } from "node:timers/promises";

import { Network } from "./network.mjs";
import { Stranger } from "./stranger.mjs";
import { Turnpike } from "./turnpike.mjs";

export const pictures = mkdtempSync(join(tmpdir(), "turnpike-pictures-"));
after(() => console.log(`pictures of the calls: ${pictures}`));

/**
 * Runs a scene with so many people behind routers of one kind, and cleans up whatever happens. `settings` are those of
 * the node; `browser` is how each person's browser starts.
 */
export async function scene(name, kinds, play, settings = {}, browser = {}) {
  const network = new Network();
  const people = [];
  let turnpike;
  try {
    turnpike = await Turnpike.start(network, settings);
    for (const [n, kind] of kinds.entries()) people.push(await Stranger.arrive(network.home(n + 1, kind), browser));
    await play(people, turnpike, network);
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

/** Both press start and see each other; how long it took in milliseconds. */
export async function call([a, b]) {
  await Promise.all([a.press("Start"), b.press("Start")]);
  await Promise.all([a.connected(), b.connected()]);
  return Promise.all([a.firstFrameMs(), b.firstFrameMs()]);
}

/** Everyone decodes frames in each of so many seconds; what is known of their ways then. */
export async function videoFlows(people, seconds) {
  let before = await Promise.all(people.map((person) => person.stats()));
  for (let second = 0; second < seconds; second += 1) {
    await pause(1000);
    const now = await Promise.all(people.map((person) => person.stats()));
    now.forEach((stats, n) => assert.ok(stats.frames > before[n].frames, `side ${n + 1} decodes in second ${second}`));
    before = now;
  }
  return before;
}
