// Clients that others wrote, each relay-only over each transport it speaks, through the real binary.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { join, resolve } from "node:path";
import { text } from "node:stream/consumers";
import { after, before, describe, test } from "node:test";

import { Authority } from "../browser/lab/authority.mjs";
import { Network, SERVER } from "../browser/lab/network.mjs";
import { Turnpike } from "../browser/lab/turnpike.mjs";

const PYTHON = resolve(process.env.PYTHON ?? ".make/python/bin/python3");
const script = (name) => join(import.meta.dirname, name);
/** A call that is to outlive a permission (300 s) is asked for by `make soak`. */
const SECONDS = Number(process.env.CALL_SECONDS ?? 3);

const URL_OF = { udp: /^turn:.*transport=udp/, tcp: /^turn:.*transport=tcp/, tls: /^turns:/ };
const ALL = ["udp", "tcp", "tls"];
const TRANSPORTS = { aiortc: ALL, libdatachannel: ["udp"], chromium: ALL, firefox: ALL };

/** Firefox asks a relay over TLS by a name only. */
const NAME = "turn.lab.example";
const authority = new Authority();
const sections = `
[ice]
urls = ["turn:${SERVER}:3478?transport=udp", "turn:${SERVER}:3478?transport=tcp", "turns:${SERVER}:5349?transport=tcp"]
[tls]
mode = "files"
cert_file = "${authority.certificate}"
key_file = "${authority.key}"
`;

let network, turnpike, home;
const PAGE = `https://${SERVER}/`;
const trusting = authority.home();

before(async () => {
  network = new Network();
  authority.sign(SERVER, NAME);
  turnpike = await Turnpike.start(network, { sections });
  home = network.home(1, "preserving");
});
after(async () => {
  await turnpike?.close();
  network?.close();
  authority.close();
});

/** Runs a client behind the router; gives what it printed, and what the relay counted for its allocations. */
async function call(transport, program, args, asked = {}) {
  const iceServers = turnpike
    .iceServers()
    .map((server) => ({
      ...server,
      urls: server.urls.filter((url) => URL_OF[transport].test(url)),
    }))
    .map((server) => ({
      ...server,
      urls: server.urls.map((url) => url.replace(SERVER, asked.name ?? SERVER)),
    }))
    .filter(({ urls }) => urls.length > 0);
  assert.equal(iceServers.length, 1, `the relay offers ${transport}`);
  const subject = iceServers[0].username.split(":")[1];
  const child = spawn(...home.enter(program, ...args), {
    env: { ...process.env, HOME: trusting, SSL_CERT_FILE: authority.root },
  });
  const late = setTimeout(() => child.kill("SIGKILL"), (SECONDS + 60) * 1000);
  child.stdin.end(JSON.stringify({ iceServers, seconds: SECONDS, ...asked }));
  const [printed, said] = await Promise.all([text(child.stdout), text(child.stderr)]);
  clearTimeout(late);
  assert.notEqual(printed, "", said);
  const result = JSON.parse(printed.trim().split("\n").at(-1));
  return { result, books: await turnpike.books(subject) };
}

/** Two allocations met, and each carried so many packets on every leg. */
function assertRelayed(books, least) {
  for (const leg of ["client_in", "client_out", "peer_in", "peer_out"]) {
    const packets = books.map((traffic) => traffic[leg].packets);
    assert.ok(
      packets.filter((count) => count >= least).length >= 2,
      `${leg}: ${packets} packets, at least ${least} twice`,
    );
  }
}

function assertEchoed({ sent, echoed }) {
  assert.ok(sent >= SECONDS * 10, `${sent} sent`);
  assert.equal(echoed, sent);
}

function assertSeen({ frames, local, remote, candidates }) {
  assert.ok(
    frames.every((count) => count >= SECONDS * 4),
    `${frames} frames`,
  );
  assert.ok(
    candidates.every((candidate) => candidate.includes(" typ relay")),
    candidates.join("\n"),
  );
  assert.deepEqual([local, remote], ["relay", "relay"]);
}

describe("aiortc calls", { concurrency: true }, () => {
  for (const transport of TRANSPORTS.aiortc) {
    test(`aiortc calls over ${transport}`, async () => {
      const { result, books } = await call(transport, PYTHON, [script("aiortc_call.py")]);
      console.log(`aiortc, ${transport}: ${JSON.stringify(result)}`);
      assertEchoed(result);
      assert.ok(result.frames >= SECONDS * 30, `${result.frames} frames of audio`);
      assertRelayed(books, result.sent);
    });
  }
});

for (const transport of TRANSPORTS.libdatachannel) {
  test(`libdatachannel calls over ${transport}`, async () => {
    const { result, books } = await call(transport, process.execPath, [
      script("datachannel_call.mjs"),
    ]);
    console.log(`libdatachannel, ${transport}: ${result.echoed} of ${result.sent} echoed`);
    assertEchoed(result);
    assert.deepEqual([result.local, result.remote], ["relay", "relay"]);
    assertRelayed(books, result.sent);
  });
}

for (const [browser, asked] of [
  ["chromium", () => ({ page: PAGE })],
  [
    "firefox",
    () => ({ page: PAGE, profile: authority.firefoxProfile(), name: NAME, address: SERVER }),
  ],
]) {
  for (const transport of TRANSPORTS[browser]) {
    test(`${browser} calls over ${transport}`, async () => {
      const { result, books } = await call(
        transport,
        process.execPath,
        [script(`${browser}_call.mjs`)],
        asked(),
      );
      console.log(`${browser}, ${transport}: ${result.frames} frames decoded in ${SECONDS} s`);
      assertSeen(result);
      assert.ok(
        result.relayProtocol === undefined || result.relayProtocol === transport,
        result.relayProtocol,
      );
      assertRelayed(books, result.frames[0]);
    });
  }
}
