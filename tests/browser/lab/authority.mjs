// A certificate authority of the tests' own, and browsers that trust it.

import { execFileSync } from "node:child_process";
import { mkdirSync, mkdtempSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { isIP } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";

const run = (command, ...args) => execFileSync(command, args, { stdio: ["ignore", "ignore", "pipe"] });
const CURVE = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"];

export class Authority {
  #folder = mkdtempSync(join(tmpdir(), "turnpike-authority-"));
  #serial = 0;

  constructor() {
    const extensions = ["-addext", "basicConstraints=critical,CA:TRUE", "-addext", "keyUsage=critical,keyCertSign"];
    run("openssl", "req", "-x509", ...CURVE, "-days", "30", "-subj", "/CN=An authority for tests", ...extensions, "-keyout", this.#file("ca.key"), "-out", this.#file("ca.pem"));
  }

  get certificate() {
    return this.#file("cert.pem");
  }

  get key() {
    return this.#file("key.pem");
  }

  /** Signs a certificate for names and addresses, with a new key, and puts the pair in the place of the one before. */
  sign(...names) {
    this.#serial += 1;
    const [request, key, certificate, extensions] = ["request", "key.new", "cert.new", "extensions"].map((file) => this.#file(file));
    run("openssl", "req", ...CURVE, "-subj", `/CN=${names[0]}`, "-keyout", key, "-out", request);
    const alternatives = names.map((name) => `${isIP(name) ? "IP" : "DNS"}:${name}`).join();
    writeFileSync(extensions, `subjectAltName=${alternatives}\nextendedKeyUsage=serverAuth\n`);
    const signed = ["-CA", this.#file("ca.pem"), "-CAkey", this.#file("ca.key"), "-set_serial", String(this.#serial), "-days", "30"];
    run("openssl", "x509", "-req", "-in", request, ...signed, "-extfile", extensions, "-out", certificate);
    renameSync(key, this.key);
    renameSync(certificate, this.certificate);
  }

  /** What to trust, as a file of PEM. */
  get root() {
    return this.#file("ca.pem");
  }

  /** A home folder whose browsers trust this authority, also for what a page's WebRTC connects to. */
  home() {
    const home = this.#file("home");
    this.#trustIn(join(home, ".pki", "nssdb"));
    return home;
  }

  /** A new profile of Firefox that trusts this authority. */
  firefoxProfile() {
    const profile = mkdtempSync(this.#file("firefox-"));
    this.#trustIn(profile);
    return profile;
  }

  #trustIn(database) {
    mkdirSync(database, { recursive: true });
    run("certutil", "-N", "--empty-password", "-d", `sql:${database}`);
    run("certutil", "-A", "-d", `sql:${database}`, "-n", "tests", "-t", "C,,", "-i", this.root);
  }

  close() {
    rmSync(this.#folder, { recursive: true, force: true });
  }

  #file(name) {
    return join(this.#folder, name);
  }
}
