// The real binary in the server's namespace, read by its JSON log, and tcpdump beside it.

import { execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { get } from "node:http";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { createInterface } from "node:readline";
import { text } from "node:stream/consumers";
import { setTimeout as pause } from "node:timers/promises";

import { SERVER } from "./network.mjs";

const BINARY = resolve(process.env.TURNPIKE ?? "target/debug/turnpike");
export const PAGE = `http://${SERVER}:8080`;

const CONFIG = (folder, { node = "", auth = "", relay = "", sections = "" }) => `
[node]
name = "lab"
public_ipv4 = "${SERVER}"
allow_private_address = true
state_dir = "${folder}"
${node}
[auth]
secret_file = "${folder}/secret"
${auth}
[relay]
allow_peers = ["198.18.0.0/15"]
drain_timeout = "0s"
admin_socket = "${folder}/relay.sock"
${relay}
[signaling]
internal_socket = "${folder}/signaling.sock"
${sections}
[log]
format = "json"
`;

export class Turnpike {
  lines = [];
  #waiting = new Set();
  #folder = mkdtempSync(join(tmpdir(), "turnpike-"));
  #server;
  #capture;

  /** `settings` are lines of TOML: `node`, `auth` and `relay` in those sections, `sections` behind all. */
  static async start(network, settings = {}) {
    const turnpike = new Turnpike();
    await turnpike.#start(network, settings);
    return turnpike;
  }

  async #start(network, settings) {
    const config = join(this.#folder, "turnpike.toml");
    writeFileSync(config, CONFIG(this.#folder, settings));
    const pcap = ["--immediate-mode", "-U", "-n", "-s", "96", "-i", "eth0", "-w", this.#pcap, "udp or tcp"];
    this.#capture = spawn(...network.enterServer("tcpdump", "-Z", "root", "-B", "16384", ...pcap));
    await lineMatching(this.#capture.stderr, /listening on/);
    this.#server = spawn(...network.enterServer(BINARY, "run", "--config", config), { stdio: ["ignore", "ignore", "pipe"] });
    createInterface({ input: this.#server.stderr }).on("line", (line) => this.#read(line));
    await this.line((entry) => entry.message === "ready");
  }

  get #pcap() {
    return join(this.#folder, "capture.pcap");
  }

  /** The first log entry, of those there are and those to come, that fits. */
  async line(fits, withinMs = 20_000) {
    const found = this.lines.find(fits);
    if (found !== undefined) return found;
    return new Promise((done, failed) => {
      const waiter = { fits, done };
      const late = setTimeout(() => failed(new Error(`no such line in the log:\n${this.tail()}`)), withinMs);
      waiter.done = (entry) => (clearTimeout(late), done(entry));
      this.#waiting.add(waiter);
    });
  }

  allocations(message, pair) {
    return this.lines.filter((entry) => entry.message === message && entry.subject.includes(pair));
  }

  /** What flowed through the allocations of a subject: `{ client_in: { bytes, packets }, … }` each, ended and live. */
  async books(subject) {
    const { sessions } = await this.#admin("/v1/sessions");
    const live = sessions.filter((session) => session.subject.includes(subject));
    const flow = (entry, leg) => ({ bytes: entry[`${leg}_bytes`], packets: entry[`${leg}_packets`] });
    const ended = this.allocations("allocation closed", subject).filter(({ id }) => live.every((session) => session.id !== id));
    const legs = ["client_in", "client_out", "peer_in", "peer_out", "hairpin"];
    return [
      ...live.map(({ traffic }) => traffic),
      ...ended.map((entry) => Object.fromEntries(legs.map((leg) => [leg, flow(entry, leg)]))),
    ];
  }

  async #admin(path) {
    const [answer] = await once(get({ socketPath: join(this.#folder, "relay.sock"), path }), "response");
    return JSON.parse(await text(answer));
  }

  /** A fresh `iceServers`, as `turnpike creds` prints it. */
  iceServers() {
    const config = join(this.#folder, "turnpike.toml");
    return JSON.parse(execFileSync(BINARY, ["creds", "--config", config, "--format", "json"], { encoding: "utf8" })).iceServers;
  }

  tail() {
    return this.lines.slice(-20).map((entry) => JSON.stringify(entry)).join("\n");
  }

  /** What was captured, once tcpdump has written all that it holds: on a busy machine it is behind. */
  async capture() {
    let before = -1;
    for (let size = 0; size !== before; size = statSync(this.#pcap).size) {
      before = size;
      await pause(1500);
    }
    return readFileSync(this.#pcap);
  }

  async close() {
    for (const child of [this.#server, this.#capture]) {
      if (child === undefined || child.exitCode !== null) continue;
      child.kill("SIGTERM");
      await once(child, "exit");
    }
    rmSync(this.#folder, { recursive: true, force: true });
  }

  #read(line) {
    let entry;
    try {
      entry = JSON.parse(line);
    } catch {
      entry = { message: line };
    }
    entry = { ...entry, ...entry.fields };
    this.lines.push(entry);
    for (const waiter of [...this.#waiting]) {
      if (!waiter.fits(entry)) continue;
      this.#waiting.delete(waiter);
      waiter.done(entry);
    }
  }
}

function lineMatching(stream, pattern) {
  return new Promise((done, failed) => {
    let text = "";
    stream.on("data", (chunk) => {
      text += chunk;
      if (pattern.test(text)) done();
    });
    stream.on("end", () => failed(new Error(text)));
  });
}
