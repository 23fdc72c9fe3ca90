import type { Snapshot } from "turnpike-client";
import { vi } from "vitest";

import type { Session } from "../src/useSession.ts";

const IDLE: Snapshot = {
  phase: "idle",
  live: false,
  failure: undefined,
  news: undefined,
  serverAway: false,
  partnerAway: false,
  pair: undefined,
  mode: "video",
  reportable: false,
  lines: [],
  partnerTyping: false,
  common: [],
  path: undefined,
  relayUnavailable: false,
  localStream: undefined,
  remoteStream: undefined,
  microphone: true,
  camera: true,
  firstFrameMs: undefined,
};

/** A session whose snapshots a test sets. */
export class FakeSession implements Session {
  snapshot = IDLE;
  readonly listeners = new Set<() => void>();
  readonly start = vi.fn<Session["start"]>(() => Promise.resolve());
  readonly next = vi.fn<Session["next"]>();
  readonly stop = vi.fn<Session["stop"]>();
  readonly update = vi.fn<Session["update"]>();
  readonly setMicrophone = vi.fn<Session["setMicrophone"]>();
  readonly setCamera = vi.fn<Session["setCamera"]>();
  readonly report = vi.fn<Session["report"]>(() => Promise.resolve(true));
  readonly say = vi.fn<Session["say"]>();
  readonly typing = vi.fn<Session["typing"]>();
  readonly frameDecoded = vi.fn<Session["frameDecoded"]>();

  constructor(shown: Partial<Snapshot> = {}) {
    this.snapshot = { ...IDLE, ...shown };
  }

  subscribe(listener: () => void): () => void {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  }

  show(changed: Partial<Snapshot>): void {
    this.snapshot = { ...this.snapshot, ...changed };
    for (const listener of [...this.listeners]) listener();
  }
}

export function fakeStream(): MediaStream {
  return {} as MediaStream;
}
