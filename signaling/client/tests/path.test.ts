import { describe, expect, it } from "vitest";

import { framesDecoded, pathOf, selectedPair } from "../src/path.ts";
import { connectedReport } from "./support/fake-rtc.ts";

const report = (stats: Map<string, object>) => stats as unknown as RTCStatsReport;

describe("the selected pair", () => {
  it("is the one that the transport names", () => {
    const stats = connectedReport("relay", "prflx", 3);
    stats.set("X", { type: "candidate-pair", localCandidateId: "R", nominated: true });
    expect(selectedPair(report(stats))).toEqual({
      local: "relay",
      remote: "prflx",
      relayProtocol: "udp",
      rttMs: 40,
    });
    expect(framesDecoded(report(stats))).toBe(3);
  });

  it("is the marked one where the transport names none", () => {
    const stats = connectedReport("host", "srflx", 0);
    stats.delete("T");
    expect(selectedPair(report(stats))).toBeUndefined();
    stats.set("P", { ...stats.get("P"), selected: true, currentRoundTripTime: undefined });
    expect(selectedPair(report(stats))).toEqual({ local: "host", remote: "srflx" });
  });

  it("has unknown ends while its candidates are not in the report", () => {
    const stats = connectedReport("host", "srflx", 0);
    stats.delete("R");
    expect(selectedPair(report(stats))).toMatchObject({ local: "host", remote: "unknown" });
  });
});

it.each([
  ["host", "srflx", "direct"],
  ["relay", "srflx", "relayed"],
  ["prflx", "relay", "relayed"],
] as const)("a call from %s to %s is %s", (local, remote, path) => {
  expect(pathOf({ local, remote })).toBe(path);
});
