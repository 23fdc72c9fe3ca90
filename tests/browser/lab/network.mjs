// A small internet in network namespaces: one server, homes behind NAT routers, no way to the outside world.

import { execFileSync } from "node:child_process";
import { existsSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

export const SERVER = "198.18.0.10";
/** What every home calls the server. */
export const NAME = "turn.lab.example";

/** Which port a router maps a flow to: one of its own for each peer, or the one that the home host uses. */
const NAT = { symmetric: "masquerade random,fully-random", preserving: "masquerade", only443: "masquerade" };
/** What a router lets out. The strictest knows the web over TLS alone: no UDP, no names, no other port. */
const OUT = {
  only443: `chain out { type filter hook forward priority 0; policy drop;
    ct state established,related accept
    iifname "lan" tcp dport 443 ct state new counter accept
    counter drop comment "refused"
  }`,
};

const run = (command, ...args) => execFileSync(command, args, { encoding: "utf8", stdio: ["ignore", "pipe", "pipe"] });

export class Network {
  #prefix = `tp${process.pid}`;
  #namespaces = [];
  #folder = mkdtempSync(join(tmpdir(), "turnpike-lab-"));
  #hosts = join(this.#folder, "hosts");
  #onExit = () => this.close();

  constructor() {
    sweepDead();
    // Chromium's WebRTC looks names up with a dot at the end.
    writeFileSync(this.#hosts, `127.0.0.1 localhost\n${SERVER} ${NAME} ${NAME}.\n`);
    process.once("exit", this.#onExit);
    for (const signal of ["SIGINT", "SIGTERM"]) process.once(signal, () => process.exit(1));
    this.internet = this.#namespace("net");
    this.#in(this.internet, "ip", "link", "add", "br0", "type", "bridge");
    this.#in(this.internet, "ip", "link", "set", "br0", "up");
    this.server = this.#namespace("srv");
    this.#attach(this.server, "eth0", `${SERVER}/15`, 0);
  }

  /** A home behind a router of the given kind. Its `chromium` starts a browser in it. */
  home(number, kind) {
    const router = this.#namespace(`r${number}`);
    const lan = this.#namespace(`h${number}`);
    const [uplink, inside] = [`198.18.${number}.1`, `10.0.${number}`];
    this.#attach(router, "wan", `${uplink}/15`, number);
    this.#veth(router, "lan", lan, "eth0");
    this.#in(router, "ip", "addr", "add", `${inside}.1/24`, "dev", "lan");
    this.#in(lan, "ip", "addr", "add", `${inside}.2/24`, "dev", "eth0");
    this.#in(lan, "ip", "route", "add", "default", "via", `${inside}.1`);
    this.#in(router, "sysctl", "-qw", "net.ipv4.ip_forward=1");
    // What a router did not ask for it drops, as those at home do: else conntrack remembers it and hole punching fails.
    this.#nft(
      router,
      `table ip nat {
        chain post { type nat hook postrouting priority 100; oifname "wan" ${NAT[kind]}; }
        chain in { type filter hook input priority 0; iifname "wan" ct state new drop; }
        ${OUT[kind] ?? ""}
      }`,
    );
    const chromium = join(this.#folder, `chromium-${number}`);
    // No home asks for names over the network: they are in a hosts file that its browser alone sees.
    const browse = `mount --bind ${this.#hosts} /etc/hosts && exec /usr/bin/chromium "$@"`;
    const enclosed = `nsenter --net=/var/run/netns/${lan} unshare --mount`;
    writeFileSync(chromium, `#!/bin/sh\nexec ${enclosed} sh -c '${browse}' sh "$@"\n`, { mode: 0o755 });
    /** Packets that this router let nobody send. */
    const refused = () => {
      const { nftables } = JSON.parse(this.#in(router, "nft", "-j", "list", "chain", "ip", "nat", "out"));
      const { expr } = nftables.find(({ rule }) => rule?.comment === "refused").rule;
      return expr.find(({ counter }) => counter !== undefined).counter.packets;
    };
    /** From now on the router refuses new TCP connections to a port, or lets nothing of it through; returns what ends that. */
    const obstruct = (rules) => {
      this.#nft(router, `table ip obstacle {\n chain forward { type filter hook forward priority -10; ${rules}; }\n}`);
      return () => this.#in(router, "nft", "delete", "table", "ip", "obstacle");
    };
    const refuseNew = (port) => obstruct(`tcp dport ${port} ct state new reject with tcp reset`);
    const cut = (port) => obstruct(`tcp dport ${port} reject with tcp reset; tcp sport ${port} drop`);
    return { address: uplink, chromium, refused, refuseNew, cut, enter: (program, ...args) => enter(lan, program, ...args) };
  }

  /** What starts a program in the server's namespace. */
  enterServer(program, ...args) {
    return enter(this.server, program, ...args);
  }

  close() {
    process.removeListener("exit", this.#onExit);
    for (const name of this.#namespaces.splice(0)) removeNamespace(name);
    rmSync(this.#folder, { recursive: true, force: true });
  }

  #namespace(suffix) {
    const name = `${this.#prefix}-${suffix}`;
    run("ip", "netns", "add", name);
    this.#namespaces.push(name);
    this.#in(name, "ip", "link", "set", "lo", "up");
    // Link-local addresses are good at once: one that comes later is a changed network to a browser that is loading.
    this.#in(name, "sysctl", "-qew", "net.ipv6.conf.default.accept_dad=0");
    return name;
  }

  #attach(namespace, device, address, number) {
    this.#veth(namespace, device, this.internet, `port${number}`);
    this.#in(namespace, "ip", "addr", "add", address, "dev", device);
    this.#in(this.internet, "ip", "link", "set", `port${number}`, "master", "br0");
  }

  /** Checksums are computed, not offloaded: they are to be right where a packet is rewritten. */
  #veth(one, oneDevice, other, otherDevice) {
    run("ip", "link", "add", oneDevice, "netns", one, "type", "veth", "peer", "name", otherDevice, "netns", other);
    for (const [namespace, device] of [[one, oneDevice], [other, otherDevice]]) {
      this.#in(namespace, "ethtool", "-K", device, "tx", "off");
      this.#in(namespace, "ip", "link", "set", device, "up");
    }
  }

  #nft(namespace, rules) {
    execFileSync("nsenter", [`--net=/var/run/netns/${namespace}`, "nft", "-f", "-"], { input: rules });
  }

  #in(namespace, command, ...args) {
    return run("nsenter", `--net=/var/run/netns/${namespace}`, command, ...args);
  }
}

function enter(namespace, program, ...args) {
  return ["nsenter", [`--net=/var/run/netns/${namespace}`, program, ...args]];
}

function removeNamespace(name) {
  try {
    run("ip", "netns", "del", name);
  } catch {
    // It is gone already.
  }
}

/** A run that was killed leaves its namespaces behind. */
function sweepDead() {
  if (!existsSync("/var/run/netns")) return;
  for (const name of readdirSync("/var/run/netns")) {
    const pid = /^tp(\d+)-/.exec(name)?.[1];
    if (pid === undefined) continue;
    try {
      process.kill(Number(pid), 0);
    } catch {
      removeNamespace(name);
    }
  }
}
