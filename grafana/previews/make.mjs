// Pictures of the dashboards for grafana/README.md: their queries answered by a real Prometheus, drawn by a small page.
// overview, relay and signaling: a node of this machine under load for some minutes. cost: a month of synthetic data.
//
// npm run previews -w grafana [-- overview relay signaling cost]
// It needs prometheus, promtool, redis-server, openssl and chromium, and target/debug/{turnpike,turnpike-bench}.

import { execFileSync } from "node:child_process";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { join } from "node:path";
import puppeteer from "puppeteer-core";

import { writeMonth } from "./month.mjs";
import { underLoad } from "./node.mjs";
import { filled } from "./panels.mjs";
import { Prometheus } from "./prometheus.mjs";

const LIVE = ["overview", "relay", "signaling"];
const CAPTION = "a preview drawn from Prometheus data by grafana/previews, not by Grafana";
const LIVE_SECONDS = Number(process.env.LIVE_SECONDS ?? 300);
const QUALITY = 60;

const require = createRequire(import.meta.url);
const here = (name) => new URL(name, import.meta.url);
const wanted = process.argv.slice(2);
const isWanted = (name) => wanted.length === 0 || wanted.includes(name);

async function draw(browser, name, dashboard) {
  const page = await browser.newPage();
  await page.setViewport({ width: 1280, height: 800, deviceScaleFactor: 1.25 });
  await page.goto(here("page.html").href);
  const uplot = require.resolve("uplot").replace("uPlot.cjs.js", "uPlot.iife.min.js");
  await page.addStyleTag({ content: readFileSync(join(uplot, "../uPlot.min.css"), "utf8") });
  await page.addScriptTag({ path: uplot });
  await page.addScriptTag({ path: here("draw.js").pathname });
  await page.evaluate((dashboard, caption) => globalThis.draw(dashboard, caption), dashboard, CAPTION);
  const picture = await page.screenshot({ fullPage: true, type: "webp", quality: QUALITY });
  writeFileSync(here(`${name}.webp`), picture);
  console.log(`${name}.webp: ${Math.round(picture.length / 1_024)} KiB`);
  await page.close();
}

async function month(folder) {
  const now = Math.floor(Date.now() / 86_400_000) * 86_400;
  const [text, data] = [join(folder, "month.om"), join(folder, "data")];
  await writeMonth(text, now);
  mkdirSync(data);
  execFileSync("promtool", ["tsdb", "create-blocks-from", "openmetrics", "--quiet", text, data]);
  const prometheus = await Prometheus.start(folder, 19_095, 20);
  try {
    return await filled("cost", prometheus, { end: now, seconds: 26.7 * 86_400, step: 7_200, scrape: 900 });
  } finally {
    prometheus.end();
  }
}

const folder = mkdtempSync(join(tmpdir(), "previews-"));
const browser = await puppeteer.launch({
  executablePath: "/usr/bin/chromium",
  args: ["--no-sandbox", "--disable-gpu", "--allow-file-access-from-files"],
});
try {
  if (isWanted("cost")) await draw(browser, "cost", await month(folder));
  const live = LIVE.filter(isWanted);
  if (live.length > 0) {
    await underLoad(LIVE_SECONDS, async (prometheus, end) => {
      for (const name of live) {
        const panels = await filled(name, prometheus, { end, seconds: LIVE_SECONDS, step: 2, scrape: 2 });
        await draw(browser, name, panels);
      }
    });
  }
} finally {
  await browser.close();
  rmSync(folder, { recursive: true });
}
