// Chromium calls itself through the relay alone. Reads what `pageCall` takes, and `page`, from standard input.

import { text } from "node:stream/consumers";

import { chromium } from "playwright-core";

import { flags } from "../browser/lab/stranger.mjs";
import { pageCall } from "./page_call.mjs";

const { page: address, ...asked } = JSON.parse(await text(process.stdin));
const browser = await chromium.launch({ executablePath: "/usr/bin/chromium", headless: true, args: flags(address) });
try {
  const page = await browser.newPage();
  await page.goto(address);
  console.log(JSON.stringify(await page.evaluate(pageCall, asked)));
} finally {
  await browser.close();
}
