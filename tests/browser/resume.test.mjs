// Calls that outlive their sockets to the server.

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { extname, join, resolve } from "node:path";
import { after, test } from "node:test";

import { call, pictures, scene, videoFlows } from "./lab/scene.mjs";

const HOMES = ["preserving", "preserving"];
const status = (person, mark) => person.page.locator(`[data-testid="status"]${mark}`).waitFor({ timeout: 20_000 });
/** What the browser says of sockets that are closing, and of attempts to connect that the router refuses. */
const forgive = (person) => (person.errors = person.errors.filter((error) => !/^WebSocket /.test(error)));

test("a socket is cut in the middle of a call: media goes on, the partner sees it, and sees it back", async () => {
  await scene("cut-call", HOMES, async ([a, b], turnpike) => {
    await call([a, b]);
    const pair = await a.pair();
    const admit = a.home.refuseNew(8080);
    await a.page.evaluate(() => globalThis.sockets.at(-1).close());
    await Promise.all([status(a, '[data-server="away"]'), status(b, '[data-peer="reconnecting"]')]);
    await videoFlows([a, b], 2);
    for (const person of [a, b]) await person.page.locator('[data-state="connected"]').waitFor();
    await a.page.getByLabel("Message").fill("Are you still there?");
    await a.page.keyboard.press("Enter");
    await b.page.getByLabel("Message").fill("I lost you for a moment, and n is no key here.");
    await b.page.keyboard.press("Enter");
    await Promise.all([a, b].map((p, n) => p.page.screenshot({ path: join(pictures, `cut-call-away-${n + 1}.png`) })));
    admit();
    await b.page.locator('.line[data-from="partner"]', { hasText: "still there?" }).waitFor();
    await a.page.locator('.line[data-from="partner"]', { hasText: "for a moment" }).waitFor();
    assert.equal(await a.page.locator(".line").count(), 2, "each line once");
    await Promise.all([status(a, '[data-server="here"]'), status(b, '[data-peer="here"]')]);
    assert.deepEqual([await a.pair(), await b.pair()], [pair, pair]);
    await videoFlows([a, b], 1);
    assert.equal(turnpike.allocations("allocation closed", pair).filter(({ cause }) => cause === "admin").length, 0);

    // Both at once, and without a word: the server does not know yet when the new ones come.
    const restore = [a, b].map(({ home }) => home.cut(8080));
    await Promise.all([a, b].map((p) => p.page.evaluate(() => globalThis.sockets.at(-1).close())));
    for (const person of [a, b]) await status(person, '[data-server="away"]');
    restore.forEach((admitAgain) => admitAgain());
    for (const person of [a, b]) await status(person, '[data-server="here"][data-peer="here"]');
    assert.deepEqual([await a.pair(), await b.pair()], [pair, pair]);
    await a.press("Next");
    await b.page.locator(`[data-partner="${pair}"]`).waitFor({ state: "detached" });
    [a, b].forEach(forgive);
  });
});

test("a socket that is cut in the middle of the negotiation, on both sides, costs no call", async () => {
  await scene("cut-negotiation", HOMES, async ([a, b]) => {
    for (const { page } of [a, b]) {
      // The first description is lost with its socket, and the first candidates with theirs.
      await page.evaluate(() => {
        const due = ['"description"', '"candidates"'];
        globalThis.loseSocketAt = (data) => {
          const at = due.findIndex((word) => String(data).includes(word));
          return at >= 0 && due.splice(at, 1).length > 0;
        };
      });
    }
    await call([a, b]);
    await videoFlows([a, b], 1);
    const sockets = await Promise.all([a, b].map(({ page }) => page.evaluate(() => globalThis.sockets.length)));
    assert.ok(sockets.every((count) => count >= 2), `sockets: ${sockets}`);
    assert.equal(await a.pair(), await b.pair());
    [a, b].forEach(forgive);
  });
});

test("next pressed twenty times on both sides ends in one call", async () => {
  const settings = { sections: 'rematch_after = "0s"\n' };
  await scene("next-storm", HOMES, async ([a, b]) => {
    await call([a, b]);
    const storm = async ({ page }) => {
      const next = page.locator("button.main");
      for (let press = 0; press < 20; press += 1) await next.click();
    };
    await Promise.all([a, b].map(storm));
    await a.page.waitForFunction(
      () => globalThis.document.querySelector('[data-testid="status"]').dataset.state === "connected",
      undefined,
      { timeout: 40_000 },
    );
    await b.connected();
    const seen = () => globalThis.document.querySelector('[data-testid="remote-video"]').readyState >= 3;
    for (const { page } of [a, b]) await page.waitForFunction(seen, undefined, { timeout: 10_000 });
    await videoFlows([a, b], 2);
    assert.equal(await a.pair(), await b.pair());
    for (const { page } of [a, b]) {
      const open = await page.evaluate(() => globalThis.connections.filter((pc) => pc.connectionState !== "closed").length);
      assert.equal(open, 1, "no connection is left behind");
    }
  }, settings);
});

/** The page as React's development build has it, which mounts everything twice. */
function developmentPage() {
  const folder = mkdtempSync(join(tmpdir(), "turnpike-page-"));
  after(() => rmSync(folder, { recursive: true, force: true }));
  const build = ["vite", "build", "--mode", "development", "--outDir", folder, "--logLevel", "error"];
  execFileSync("npx", build, { cwd: resolve("signaling/web"), env: { ...process.env, NODE_ENV: "development" } });
  const types = { ".html": "text/html", ".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml" };
  return async (page) => {
    await page.route(/^http:\/\/[^/]+\/($|assets\/|icon\.svg)/, (route) => {
      const { pathname } = new URL(route.request().url());
      const file = pathname === "/" ? "/index.html" : pathname;
      return route.fulfill({ body: readFileSync(join(folder, file)), contentType: types[extname(file)] });
    });
  };
}

test("mounted twice, as StrictMode does, the page has one session, one camera and one call", async () => {
  const route = developmentPage();
  await scene("strict-mode", HOMES, async ([a, b]) => {
    const twice = await a.page.evaluate(() => globalThis.document.querySelector("script[type=module]").src.length > 0);
    assert.ok(twice);
    await call([a, b]);
    for (const { page } of [a, b]) {
      const seen = await page.evaluate(() => ({
        sockets: globalThis.sockets.length,
        connections: globalThis.connections.length,
        cameras: globalThis.cameras.length,
      }));
      assert.deepEqual(seen, { sockets: 1, connections: 1, cameras: 1 });
    }
    await a.press("Stop");
    const ended = () => globalThis.cameras.every((stream) => stream.getTracks().every((track) => track.readyState === "ended"));
    assert.ok(await a.page.evaluate(ended), "no camera stays open");
  }, {}, { route });
});
