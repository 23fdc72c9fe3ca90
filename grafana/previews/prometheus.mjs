// A Prometheus of its own: on given data, or scraping a node.

import { spawn } from "node:child_process";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as pause } from "node:timers/promises";

const STARTS_WITHIN_MS = 60_000;

export class Prometheus {
  #process;
  #url;

  /** On what lies in `folder`/data, whose values hold for so many minutes; `scrape` is of prometheus.yml. */
  static async start(folder, port, minutes, scrape = "") {
    const prometheus = new Prometheus();
    writeFileSync(join(folder, "prometheus.yml"), scrape);
    prometheus.#url = `http://127.0.0.1:${port}`;
    prometheus.#process = spawn(
      "prometheus",
      [
        `--config.file=${join(folder, "prometheus.yml")}`,
        `--storage.tsdb.path=${join(folder, "data")}`,
        "--storage.tsdb.retention.time=10y",
        `--query.lookback-delta=${minutes}m`,
        `--web.listen-address=127.0.0.1:${port}`,
      ],
      { stdio: "ignore" },
    );
    for (const deadline = Date.now() + STARTS_WITHIN_MS; ; await pause(200)) {
      const ready = await fetch(`${prometheus.#url}/-/ready`).catch(() => undefined);
      if (ready?.ok) return prometheus;
      if (Date.now() > deadline) throw new Error("prometheus does not start");
    }
  }

  /** The last value of each series. */
  instant(query, time) {
    return this.#get("query", { query, time });
  }

  /** The values of each series at every step. */
  range(query, start, end, step) {
    return this.#get("query_range", { query, start, end, step });
  }

  async #get(path, parameters) {
    const answer = await (await fetch(`${this.#url}/api/v1/${path}?${new URLSearchParams(parameters)}`)).json();
    if (answer.status !== "success") throw new Error(`${parameters.query}: ${answer.error}`);
    return answer.data.result;
  }

  end() {
    this.#process.kill("SIGKILL");
  }
}
