// What the panels of a dashboard show: their queries answered by a Prometheus.

import { readFileSync } from "node:fs";

const SCRAPES = 4;

/** The dashboard with `frames` beside each target, for the time until `end`, in seconds. */
export async function filled(name, prometheus, { end, seconds, step, scrape }) {
  const file = new URL(`../dashboards/${name}.json`, import.meta.url);
  const dashboard = JSON.parse(readFileSync(file, "utf8"));
  // As Grafana works it out.
  const window = Math.max(step + scrape, SCRAPES * scrape);
  const plain = (query) =>
    query.replaceAll("$job", ".*").replaceAll("$instance", ".*").replaceAll("$__rate_interval", `${window}s`);
  for (const panel of dashboard.panels) {
    for (const target of panel.targets ?? []) {
      const query = plain(target.expr);
      const result = target.instant
        ? await prometheus.instant(query, end)
        : await prometheus.range(query, end - seconds, end, step);
      target.frames = result.map(({ metric, value, values }) => ({
        name: legend(target.legendFormat, metric),
        points: (values ?? [value]).map(([time, text]) => [time, Number(text)]),
      }));
    }
  }
  return dashboard;
}

function legend(format, metric) {
  return format.replaceAll(/\{\{(\w+)\}\}/g, (_, label) => metric[label] ?? "");
}
