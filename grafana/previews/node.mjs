// A real node under load, and the Prometheus that scrapes it.

import { execFileSync, spawn } from "node:child_process";
import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { createInterface } from "node:readline";
import { setTimeout as pause } from "node:timers/promises";
import { io } from "socket.io-client";

import { Prometheus } from "./prometheus.mjs";

const binary = (name) => resolve(import.meta.dirname, "../../target/debug", name);
const TURNPIKE = process.env.TURNPIKE ?? binary("turnpike");
const BENCH = process.env.TURNPIKE_BENCH ?? binary("turnpike-bench");
const PORTS = { turn: 23_478, tls: 25_349, http: 28_080, relay: 29_650, signaling: 29_651, prometheus: 29_090, redis: 26_379 };
const SECRET = "a secret for pictures alone, of 32 bytes and more";
const at = (port) => `127.0.0.1:${port}`;

const CONFIG = `
[node]
public_ipv4 = "127.0.0.1"
allow_private_address = true
domain = "localhost"
state_dir = "state"
[auth]
secret_file = "secret"
[relay]
listen_udp = ["${at(PORTS.turn)}"]
listen_tcp = ["${at(PORTS.turn)}"]
allow_peers = ["127.0.0.0/8"]
port_range = [40000, 40399]
drain_timeout = "0s"
admin_socket = "relay.sock"
[tls]
mode = "files"
listen = ["${at(PORTS.tls)}"]
cert_file = "cert.pem"
key_file = "key.pem"
[signaling]
listen = ["${at(PORTS.http)}"]
internal_socket = "signaling.sock"
pair_grace = "2s"
resume_for = "5s"
[metrics]
relay_listen = "${at(PORTS.relay)}"
signaling_listen = "${at(PORTS.signaling)}"
selftest = "5s"
[redis]
url = "redis://${at(PORTS.redis)}"
[mint]
anonymous = true
[cost]
preset = "vultr"
[budget]
per_period = "900GiB"
[log]
format = "json"
`;

const SCRAPE = `
global:
  scrape_interval: 2s
scrape_configs:
  - job_name: turnpike-relay
    static_configs: [{ targets: ["${at(PORTS.relay)}"] }]
  - job_name: turnpike-signaling
    static_configs: [{ targets: ["${at(PORTS.signaling)}"] }]
`;

/** Runs a node under load for so long, and gives its Prometheus and the time to `look`. */
export async function underLoad(seconds, look) {
  const folder = mkdtempSync(join(tmpdir(), "preview-node-"));
  const file = (name, text) => writeFileSync(join(folder, name), text);
  file("turnpike.toml", CONFIG);
  file("secret", `${SECRET}\n`);
  const key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", join(folder, "key.pem")];
  const certificate = ["req", "-x509", ...key, "-out", join(folder, "cert.pem"), "-days", "61", "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"];
  execFileSync("openssl", certificate, { stdio: "ignore" });
  const store = ["--port", PORTS.redis, "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir", folder];
  const redis = spawn("redis-server", store.map(String), { stdio: "ignore" });
  const node = spawn(TURNPIKE, ["run", "--config", join(folder, "turnpike.toml")], { stdio: ["ignore", "ignore", "pipe"] });
  let prometheus;
  try {
    for await (const line of createInterface({ input: node.stderr })) {
      if (JSON.parse(line).message === "ready") break;
    }
    node.stderr.resume();
    prometheus = await Prometheus.start(folder, PORTS.prometheus, 5, SCRAPE);
    const until = Date.now() + seconds * 1_000;
    await Promise.all([calls(until), strangers(until), strays(until, join(folder, "secret")), visitors(until)]);
    await look(prometheus, Math.floor(until / 1_000));
  } finally {
    prometheus?.end();
    node.kill("SIGKILL");
    redis.kill("SIGKILL");
    await once(node, "exit");
    rmSync(folder, { recursive: true });
  }
}

const between = (low, high) => low + (high - low) * Math.random();

/** Relayed calls: media in ChannelData and in Send indications, and from client to client. */
async function calls(until) {
  const load = async (wait, ...options) => {
    await pause(wait);
    while (Date.now() < until) {
      const seconds = Math.min(between(12, 30), (until - Date.now()) / 1_000).toFixed(1);
      const rate = ["--rate", Math.round(between(150, 600)), "--flows", Math.round(between(4, 30))];
      const all = ["load", "--server", at(PORTS.turn), "--secret", SECRET, "--seconds", seconds, ...rate, ...options];
      await once(spawn(BENCH, all.map(String), { stdio: "ignore" }), "exit");
      await pause(between(500, 4_000));
    }
  };
  await Promise.all([
    load(0, "--payload", 1_000),
    load(3_000, "--payload", 900),
    load(9_000, "--payload", 1_000, "--indications"),
    load(15_000, "--payload", 800, "--pairs"),
  ]);
}

/** Somebody who looks for a way in, and who has the wrong password. */
async function strays(until, secret) {
  const url = (port, scheme, transport) => `${scheme}:${at(port)}?transport=${transport}`;
  const urls = [url(PORTS.turn, "turn", "udp"), url(PORTS.turn, "turn", "tcp"), url(PORTS.tls, "turns", "tcp")];
  while (Date.now() < until) {
    for (const login of [["--secret-file", secret], ["--user", "guest", "--pass", "wrong"]]) {
      await once(spawn(TURNPIKE, ["probe", ...urls, ...login, "--seconds", "1"], { stdio: "ignore" }), "exit");
      await pause(between(1_000, 6_000));
    }
  }
}

/** The page, and credentials over REST. */
async function visitors(until) {
  while (Date.now() < until) {
    const paths = ["/", "/v1/ice", "/v1/ice", "/turn?service=turn", "/nowhere"];
    const path = paths[Math.floor(Math.random() * paths.length)];
    await fetch(`http://${at(PORTS.http)}${path}`).then((answer) => answer.arrayBuffer());
    await pause(between(50, 900));
  }
}

/** People who come, meet and part. */
async function strangers(until) {
  const there = new Set();
  while (Date.now() < until) {
    const stranger = comeAndGo(until).finally(() => there.delete(stranger));
    there.add(stranger);
    await pause(between(100, 900));
  }
  await Promise.all(there);
}

async function comeAndGo(until) {
  const socket = io(`http://${at(PORTS.http)}`, { transports: ["websocket"], auth: { v: 1 }, reconnection: false });
  const gone = once(socket, "disconnect");
  const ask = (event, payload) => socket.timeout(5_000).emitWithAck(event, payload).catch(() => undefined);
  // Numbered over all of its pairs.
  let seq = 0;
  const mode = Math.random() < 0.25 ? "text" : "video";
  const join = { mode, interests: Math.random() < 0.4 ? ["music"] : [], privacy: "all" };
  socket.on("match.found", ({ pair }) => ask("match.accept", { pair }));
  socket.on("match.found", async ({ pair, role }) => {
    const started = await Promise.race([once(socket, "match.start"), gone, pause(6_000)]);
    if (!started || socket.disconnected) return;
    if (role === "initiator") await signal(ask, pair, () => ++seq);
    const path = Math.random();
    const local = path < 0.75 ? "srflx" : "relay";
    const stats = { state: "connected", pair, local, remote: path < 0.9 ? "host" : "relay", ttfmMs: 800, rttMs: 40 };
    await ask("pair.stats", path < 0.96 ? stats : { state: "failed", pair });
    let over = false;
    const ended = once(socket, "match.ended").then(() => (over = true));
    for (const ends = Date.now() + between(3_000, 40_000); Date.now() < ends && socket.connected && !over; ) {
      await ask("chat.send", { pair, id: randomBytes(8).toString("hex"), text: "hello" });
      await Promise.race([ended, pause(between(1_000, 7_000))]);
    }
    if (!over) await ask(Math.random() < 0.6 ? "match.next" : "match.leave", { pair });
  });
  await Promise.race([once(socket, "hello"), pause(5_000)]);
  await ask("queue.join", join);
  await pause(Math.min(between(8_000, 70_000), Math.max(0, until - Date.now())));
  if (Math.random() < 0.7) await ask("bye", {});
  socket.disconnect();
}

async function signal(ask, pair, seq) {
  const sdp = "v=0\r\no=- 1 1 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\na=ice-ufrag:x\r\na=fingerprint:sha-256 AA\r\n";
  await ask("signal", { pair, seq: seq(), gen: 0, description: { type: "offer", sdp } });
  for (let port = 1_000; port < 1_004; port++) {
    const candidate = `candidate:${port} 1 udp 1 192.0.2.1 ${port} typ host`;
    await ask("signal", { pair, seq: seq(), gen: 0, candidates: [{ candidate }] });
  }
}
