// A person at home: a Chromium behind a router, at the page.

import { chromium } from "playwright-core";

import { PAGE } from "./turnpike.mjs";

/** How a Chromium is started that shows a camera that is none, and takes a page over plain HTTP for a safe one. */
export const flags = (page) => [
  "--no-sandbox",
  "--disable-gpu",
  "--disable-quic",
  "--no-first-run",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
  "--use-fake-device-for-media-stream",
  "--use-fake-ui-for-media-stream",
  "--autoplay-policy=no-user-gesture-required",
  "--disable-features=WebRtcHideLocalIpsWithMdns",
  `--unsafely-treat-insecure-origin-as-secure=${new URL(page).origin}`,
];

export class Stranger {
  errors = [];

  /** Opens the page in a browser with further arguments and variables. */
  static async arrive(home, { page: address = PAGE, args = [], env = {}, route = () => {} } = {}) {
    const stranger = new Stranger();
    stranger.home = home;
    stranger.browser = await chromium.launch({
      executablePath: home.chromium,
      headless: true,
      args: [...flags(address), ...args],
      env: { ...process.env, ...env },
    });
    const page = await stranger.browser.newPage();
    stranger.page = page;
    page.on("pageerror", (error) => stranger.errors.push(String(error)));
    page.on("console", (message) => {
      if (message.type() === "error") stranger.errors.push(message.text());
    });
    await page.addInitScript(() => {
      globalThis.connections = [];
      globalThis.sockets = [];
      globalThis.cameras = [];
      globalThis.loseSocketAt = () => false;
      globalThis.WebSocket = class extends globalThis.WebSocket {
        constructor(...args) {
          super(...args);
          globalThis.sockets.push(this);
        }
        send(data) {
          if (globalThis.loseSocketAt(data)) this.close();
          else super.send(data);
        }
      };
      const devices = globalThis.navigator.mediaDevices;
      const open = devices?.getUserMedia.bind(devices);
      if (open !== undefined) {
        devices.getUserMedia = async (wanted) => {
          const stream = await open(wanted);
          globalThis.cameras.push(stream);
          return stream;
        };
      }
      globalThis.RTCPeerConnection = class extends globalThis.RTCPeerConnection {
        constructor(...args) {
          super(...args);
          globalThis.connections.push(this);
        }
      };
    });
    await route(page);
    await page.goto(address);
    await page.getByRole("button", { name: "Start" }).waitFor();
    return stranger;
  }

  press(name) {
    return this.page.getByRole("button", { name }).click();
  }

  async connected() {
    await this.page.locator('[data-testid="status"][data-state="connected"]').waitFor({ timeout: 25_000 });
    await this.page.locator("[data-ttff-ms]").first().waitFor({ timeout: 10_000, state: "attached" });
    await this.page.locator('[data-path="direct"], [data-path="relayed"]').first().waitFor({ timeout: 10_000 });
  }

  /** Waits until this person is in another pair than that. */
  async pairOtherThan(pair) {
    await this.page.waitForFunction(
      (before) => {
        const now = globalThis.document.querySelector("[data-partner]")?.dataset.partner;
        return now !== undefined && now !== "" && now !== before;
      },
      pair,
      { timeout: 25_000 },
    );
    return this.pair();
  }

  pair() {
    return this.page.locator("[data-partner]").first().getAttribute("data-partner");
  }

  path() {
    return this.page.getByTestId("path").getAttribute("data-path");
  }

  /** Waits until the call takes this path: ICE begins with the one that answers first. */
  onPath(path) {
    return this.page.locator(`[data-path="${path}"]`).first().waitFor({ timeout: 10_000 });
  }

  async firstFrameMs() {
    return Number(await this.page.locator("[data-ttff-ms]").first().getAttribute("data-ttff-ms"));
  }

  /** The types of the selected candidates, how this side reaches its relay, and the frames decoded so far. */
  stats() {
    return this.page.evaluate(async () => {
      const live = globalThis.connections.filter((pc) => pc.connectionState === "connected").at(-1);
      const report = await live.getStats();
      const all = [...report.values()];
      const transport = all.find((entry) => entry.type === "transport");
      const pair = report.get(transport.selectedCandidatePairId);
      const video = all.find((entry) => entry.type === "inbound-rtp" && entry.kind === "video");
      return {
        local: report.get(pair.localCandidateId).candidateType,
        remote: report.get(pair.remoteCandidateId).candidateType,
        relayProtocol: report.get(pair.localCandidateId).relayProtocol,
        url: report.get(pair.localCandidateId).url,
        frames: video?.framesDecoded ?? 0,
      };
    });
  }

  async leave() {
    await this.browser.close();
  }
}
