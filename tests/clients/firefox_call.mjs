// Firefox calls itself through the relay alone. Reads what `pageCall` takes from standard input, and with it `page`,
// `profile` and the `address` that every name is for.

import { text } from "node:stream/consumers";

import puppeteer from "puppeteer-core";

import { pageCall } from "./page_call.mjs";

const { page: start, profile, address, ...asked } = JSON.parse(await text(process.stdin));
const browser = await puppeteer.launch({
  browser: "firefox",
  executablePath: "/usr/bin/firefox-esr",
  headless: true,
  userDataDir: profile,
  extraPrefsFirefox: {
    "media.navigator.permission.disabled": true,
    "media.navigator.streams.fake": true,
    "media.peerconnection.ice.obfuscate_host_addresses": false,
    "media.getusermedia.insecure.enabled": true,
    "media.devices.insecure.enabled": true,
    "media.autoplay.default": 0,
    "network.dns.forceResolve": address,
    "network.captive-portal-service.enabled": false,
    "network.connectivity-service.enabled": false,
  },
});
try {
  const page = await browser.newPage();
  await page.goto(start);
  console.log(JSON.stringify(await page.evaluate(pageCall, asked)));
} finally {
  await browser.close();
}
