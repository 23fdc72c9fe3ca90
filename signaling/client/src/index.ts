export { Call, type CallOptions } from "./call.ts";
export type * from "./contract.ts";
export { fetchIce, IceRefused } from "./ice.ts";
export { type MediaProblem, MediaUnavailable, openCamera } from "./media.ts";
export { type Path, pathOf, type SelectedPair, selectedPair } from "./path.ts";
export { type LinkState, PeerLink, type PeerLinkOptions } from "./peer-link.ts";
export { type Answer, Signaling, type SignalingOptions } from "./signaling.ts";
export type { Failure, News, Phase, Snapshot } from "./snapshot.ts";
export { Stranger, type Wishes } from "./stranger.ts";
