// A network that lets out nothing but TCP to port 443: the page and the call both go there.

import assert from "node:assert/strict";
import { join } from "node:path";
import { after, test } from "node:test";

import { Authority } from "./lab/authority.mjs";
import { NAME } from "./lab/network.mjs";
import { call, pictures, scene, videoFlows } from "./lab/scene.mjs";

const authority = new Authority();
after(() => authority.close());

const settings = () => ({
  node: `domain = "${NAME}"`,
  sections: `
    [tls]
    mode = "files"
    cert_file = "${authority.certificate}"
    key_file = "${authority.key}"`,
});

test("where only TCP to 443 gets out, page and call run over TLS on that port, across a change of certificate", async () => {
  authority.sign(NAME);
  const browser = { page: `https://${NAME}/`, env: { HOME: authority.home() } };
  const play = async ([a, b], turnpike) => {
    assert.equal(await a.page.evaluate(() => globalThis.location.protocol), "https:");
    const times = await call([a, b]);
    console.log(`only 443: first frame after ${times.join(" and ")} ms`);
    for (const stats of await videoFlows([a, b], 6)) {
      assert.equal(stats.local, "relay", JSON.stringify(stats));
      assert.equal(stats.relayProtocol, "tls", JSON.stringify(stats));
      assert.equal(stats.url, `turns:${NAME}:443?transport=tcp`);
    }
    assert.equal(await a.path(), "relayed");
    const pair = await a.pair();
    const opened = turnpike.allocations("allocation opened", pair);
    assert.ok(opened.length >= 2, "an allocation for each side");
    const clients = new Set(opened.map(({ client }) => client.split(":")[0]));
    assert.deepEqual([...clients].sort(), [a.home.address, b.home.address]);
    for (const { home } of [a, b]) assert.ok(home.refused() > 0, "the browser has tried other ways, and the router let none out");

    authority.sign(NAME);
    await turnpike.line(({ message }) => message?.startsWith("new TLS certificate taken"));
    await videoFlows([a, b], 3);
    assert.equal(await a.pair(), pair, "the socket to signaling goes on as well");
    await Promise.all([a, b].map((p, n) => p.page.screenshot({ path: join(pictures, `only-443-call-${n + 1}.png`) })));

    await Promise.all([a.press("Stop"), b.press("Stop")]);
    for (const { id } of opened) {
      const closed = await turnpike.line((entry) => entry.message === "allocation closed" && entry.id === id);
      console.log(`${closed.client}: ${closed.client_in_bytes} bytes in, ${closed.client_out_bytes} out`);
    }
  };
  await scene("only-443", ["only443", "only443"], play, settings(), browser);
});
