// The signaling contract as others speak it: both Socket.IO clients, and what a tool makes of the OpenAPI document.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join, resolve } from "node:path";
import { text } from "node:stream/consumers";
import { after, before, test } from "node:test";

import { Network, SERVER } from "../browser/lab/network.mjs";
import { Turnpike } from "../browser/lab/turnpike.mjs";

const PYTHON = resolve(process.env.PYTHON ?? ".make/python/bin/python3");
const SITE = `http://${SERVER}:8080`;
const API_KEY = "an-api-key-of-thirty-two-bytes-or-more";
const folder = mkdtempSync(join(tmpdir(), "contract-"));

let network, turnpike, home;

before(async () => {
  const keys = join(folder, "keys");
  writeFileSync(keys, API_KEY);
  network = new Network();
  turnpike = await Turnpike.start(network, { auth: `api_keys_file = "${keys}"` });
  home = network.home(1, "preserving");
});
after(async () => {
  await turnpike?.close();
  network?.close();
  rmSync(folder, { recursive: true, force: true });
});

/** Runs a program behind the router; its exit code and what it said. */
async function run(seconds, program, ...args) {
  const child = spawn(...home.enter(program, ...args), { cwd: folder });
  const late = setTimeout(() => child.kill("SIGKILL"), seconds * 1000);
  const ended = new Promise((done) => child.once("exit", done));
  const [code, printed, said] = await Promise.all([ended, text(child.stdout), text(child.stderr)]);
  clearTimeout(late);
  return { code, printed, said };
}

const STEPS = ["hello", "match.found", "match.start", "signal", "chat", "ice.refresh", "session.resumed", "bye"];

for (const [name, program, file] of [
  ["socket.io-client", process.execPath, "contract.mjs"],
  ["python-socketio", PYTHON, "contract.py"],
]) {
  test(`${name} goes through the whole contract`, async () => {
    const { printed, said } = await run(60, program, join(import.meta.dirname, file), SITE);
    assert.deepEqual(printed.trim().split("\n"), STEPS, said);
  });
}

const CHECKS = ["not_a_server_error", "status_code_conformance", "content_type_conformance", "response_schema_conformance"];

test("schemathesis finds no server error, and nothing that the OpenAPI document does not say", async () => {
  const options = ["--header", `Authorization: Bearer ${API_KEY}`, "--checks", CHECKS.join(","), "--no-color"];
  const asked = ["run", `${SITE}/openapi.json`, ...options, "--generation-database", "none", "--max-examples", "20"];
  const { code, printed, said } = await run(120, join(dirname(PYTHON), "schemathesis"), ...asked);
  assert.equal(code, 0, printed + said);
  console.log(`schemathesis: ${/\d+ generated.*/.exec(printed)}`);
});
