// A month of a relay as OpenMetrics text: synthetic, with the shapes of real ones, and prices worked out as the relay does.

import { createWriteStream } from "node:fs";
import { once } from "node:events";

const DAY = 86_400;
const STEP = 900;
const GB = 1e9;
const DAYS = 30;
/** The day that it is; projections go to the last one. */
const TODAY = 26.8;
/** A small machine whose allowance is spent in the last week. */
const PRICE = { base: 4.5, included: 4_000 * GB, perByte: 0.01 / GB };
const ELSEWHERE = [
  { vendor: "aws-ec2", free: 100 * GB, perByte: 0.083 / GB, of: (flows) => egress(flows) },
  { vendor: "cloudflare", free: 1_000 * GB, perByte: 0.045 / GB, of: (flows) => flows.client_out },
  { vendor: "digitalocean", free: 1_000 * GB, perByte: 0.0093 / GB, of: (flows) => egress(flows), base: 11 },
];
const BUDGET = 6_000 * GB;
const CALL_BUCKETS = [1e4, 1e6, 1e7, 1e8, 1e9];

const egress = (flows) => flows.client_out + flows.peer_out - flows.hairpin;
const cost = (price, bytes) => (price.base ?? 0) + Math.max(0, bytes - (price.free ?? price.included)) * price.perByte;

/** Always the same numbers. */
function generator(seed) {
  let state = seed;
  return () => {
    state = (state * 1_664_525 + 1_013_904_223) % 2 ** 32;
    return state / 2 ** 32;
  };
}

/** Writes the month as it stands at `now`, in Unix seconds, to a file. */
export async function writeMonth(file, now) {
  const random = generator(7);
  const start = now - TODAY * DAY;
  const end = start + DAYS * DAY;
  const series = new Map();
  const add = (name, labels, time, value) => {
    const all = { ...labels, job: "turnpike-relay", instance: "127.0.0.1:9650" };
    if (name.startsWith("turnpike_pair")) Object.assign(all, { job: "turnpike-signaling", instance: "127.0.0.1:9651" });
    const text = Object.entries(all).map(([label, of]) => `${label}="${of}"`);
    const key = `${name}{${text.join(",")}}`;
    if (!series.has(key)) series.set(key, []);
    series.get(key).push(`${key} ${value} ${time}`);
  };

  const flows = { client_in: 0, client_out: 0, peer_in: 0, peer_out: 0, hairpin: 0 };
  const tenants = { shop: 0, school: 0, other: 0 };
  const calls = { count: 0, sum: 0, buckets: CALL_BUCKETS.map(() => 0), unused: 0 };
  const paths = { direct: 0, relay_one_side: 0, relay_both: 0, failed: 0, unknown: 0 };
  const days = [];
  for (let time = start; time <= now; time += STEP) {
    const day = Math.floor((time - start) / DAY);
    const hour = ((time % DAY) / 3_600 + 24) % 24;
    const isWeekend = [0, 6].includes(new Date(time * 1_000).getUTCDay());
    const evening = Math.exp(-(((hour - 20) / 4) ** 2)) + 0.5 * Math.exp(-(((hour - 13) / 3) ** 2)) + 0.06;
    const busy = evening * (isWeekend ? 1.45 : 1) * (1 + day / 45) * (0.85 + 0.3 * random());
    const live = Math.round(34 * busy);
    // A relayed call is a megabit a second each way.
    const carried = live * STEP * 0.055e6 * (0.9 + 0.2 * random());
    const hairpin = carried * 0.12;
    const parts = { client_in: carried, client_out: carried * 1.01, peer_in: carried * 0.93, peer_out: carried, hairpin };
    for (const [flow, bytes] of Object.entries(parts)) flows[flow] += bytes;
    const billedNow = egress(parts);
    tenants.shop += billedNow * 0.25;
    tenants.school += billedNow * (isWeekend || hour < 7 || hour > 17 ? 0.04 : 0.4);
    tenants.other = egress(flows) - tenants.shop - tenants.school;
    for (let call = 0; call < Math.round(busy * 24 + random()); call++) {
      const bytes = Math.exp(13 + 5.2 * random());
      calls.count += 1;
      calls.sum += bytes;
      CALL_BUCKETS.forEach((bound, place) => (calls.buckets[place] += bytes <= bound ? 1 : 0));
      calls.unused += random() < 0.31 ? 1 : 0;
      const path = random();
      paths[path < 0.77 ? "direct" : path < 0.9 ? "relay_one_side" : path < 0.97 ? "relay_both" : "failed"] += 1;
    }

    const billed = egress(flows);
    days[day] = billed;
    const since = Math.max(0, day - 7);
    const rate = (billed - (since > 0 ? days[since - 1] : 0)) / Math.max(STEP, time - start - since * DAY);
    const projected = billed + rate * (end - time);
    const projectedCost = cost(PRICE, projected);
    for (const [flow, bytes] of Object.entries(flows)) add("turnpike_billing_period_bytes", { flow }, time, Math.round(bytes));
    add("turnpike_billing_period_billed_bytes", {}, time, Math.round(billed));
    add("turnpike_billing_period_projected_bytes", {}, time, Math.round(projected));
    add("turnpike_billing_period_cost", { component: "base" }, time, PRICE.base);
    add("turnpike_billing_period_cost", { component: "traffic" }, time, cost(PRICE, billed) - PRICE.base);
    add("turnpike_billing_period_projected_cost", {}, time, projectedCost);
    add("turnpike_cost_included_bytes", {}, time, PRICE.included);
    add("turnpike_cost_marginal_per_byte", {}, time, billed < PRICE.included ? 0 : PRICE.perByte);
    add("turnpike_cost_blended_per_byte", {}, time, projectedCost / projected);
    for (const vendor of ELSEWHERE) add("turnpike_cost_comparison", { vendor: vendor.vendor }, time, cost(vendor, vendor.of(flows)));
    const ratio = billed / BUDGET;
    add("turnpike_budget_ratio", {}, time, ratio);
    add("turnpike_budget_step", {}, time, ratio < 0.8 ? 0 : ratio < 0.95 ? 1 : ratio < 1 ? 2 : 3);
    for (const [tenant, bytes] of Object.entries(tenants)) add("turnpike_relay_billed_bytes_total", { tenant }, time, Math.round(bytes));
    add("turnpike_allocations", { transport: "udp", family: "ipv4" }, time, live);
    CALL_BUCKETS.forEach((le, place) => add("turnpike_allocation_billed_bytes_bucket", { le }, time, calls.buckets[place]));
    add("turnpike_allocation_billed_bytes_bucket", { le: "+Inf" }, time, calls.count);
    add("turnpike_allocation_billed_bytes_sum", {}, time, Math.round(calls.sum));
    add("turnpike_allocation_billed_bytes_count", {}, time, calls.count);
    add("turnpike_allocations_closed_total", { cause: "client", used: "true" }, time, calls.count - calls.unused);
    add("turnpike_allocations_closed_total", { cause: "client", used: "false" }, time, calls.unused);
    for (const [path, count] of Object.entries(paths)) add("turnpike_pair_path_total", { path }, time, count);
  }

  const stream = createWriteStream(file);
  // A metric is told in one piece.
  for (const key of [...series.keys()].sort()) stream.write(`${series.get(key).join("\n")}\n`);
  stream.end("# EOF\n");
  await once(stream, "finish");
}
