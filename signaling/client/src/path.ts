import type { CandidateType, ConnectedStats } from "./contract.ts";

/** How the media of a call travels. */
export type Path = "direct" | "relayed";

/** The candidate pair that carries a call. */
export type SelectedPair = Pick<ConnectedStats, "local" | "remote" | "relayProtocol" | "rttMs">;

/** A call is relayed as soon as either side sends through a relay. */
export function pathOf({ local, remote }: SelectedPair): Path {
  return local === "relay" || remote === "relay" ? "relayed" : "direct";
}

/** The pair that the ICE transport has selected, once there is one. */
export function selectedPair(report: RTCStatsReport): SelectedPair | undefined {
  const pair = pairStats(report);
  if (pair === undefined) return undefined;
  const local = report.get(pair.localCandidateId) as CandidateStats | undefined;
  const remote = report.get(pair.remoteCandidateId) as CandidateStats | undefined;
  const rtt = pair.currentRoundTripTime;
  return {
    local: typeOf(local),
    remote: typeOf(remote),
    ...(local?.relayProtocol !== undefined && { relayProtocol: local.relayProtocol }),
    ...(rtt !== undefined && { rttMs: Math.round(rtt * 1000) }),
  };
}

/** Video frames of the partner that were decoded so far. */
export function framesDecoded(report: RTCStatsReport): number {
  let frames = 0;
  for (const stats of valuesOf<RTCInboundRtpStreamStats>(report)) {
    if (stats.type === "inbound-rtp") frames += stats.framesDecoded ?? 0;
  }
  return frames;
}

interface CandidateStats {
  candidateType?: RTCIceCandidateType;
  relayProtocol?: "udp" | "tcp" | "tls";
}

/** Firefox has no `selectedCandidatePairId`; it marks the pair instead. */
type PairStats = RTCIceCandidatePairStats & { selected?: boolean };

function pairStats(report: RTCStatsReport): PairStats | undefined {
  for (const stats of valuesOf<RTCTransportStats>(report)) {
    if (stats.type === "transport" && stats.selectedCandidatePairId !== undefined) {
      return report.get(stats.selectedCandidatePairId) as PairStats | undefined;
    }
  }
  return valuesOf<PairStats>(report).find(
    (stats) => stats.type === "candidate-pair" && stats.selected === true,
  );
}

function valuesOf<T extends RTCStats>(report: RTCStatsReport): T[] {
  const values: T[] = [];
  report.forEach((stats: T) => values.push(stats));
  return values;
}

function typeOf(candidate: CandidateStats | undefined): CandidateType {
  return candidate?.candidateType ?? "unknown";
}
