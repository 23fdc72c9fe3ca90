import { describe, expect, it } from "vitest";

import type {
  Acks,
  Candidate,
  CandidateType,
  Category,
  ClientEvents,
  ConnectAuth,
  ConnectedStats,
  ErrorCode,
  FailedStats,
  Hello,
  Ice,
  Limits,
  MatchEnded,
  MatchFound,
  MatchStart,
  Notice,
  PeerState,
  Problem,
  ProblemCode,
  QueueJoin,
  QueueState,
  Refused,
  Report,
  ServerEvents,
  SessionResumed,
} from "../src/contract.ts";
import { connects, fixtures, schema, validator } from "./support/schema.ts";

const TABLES = { client: "ClientEvents", server: "ServerEvents", ack: "Acks", rest: "Rest" };

describe.each(Object.entries(TABLES))("the fixtures of %s", (folder, table) => {
  const files = fixtures(folder);

  it("are one for each event of the schema", () => {
    const events = Object.keys(schema.$defs[table]?.properties ?? {});
    expect(files.map(({ event }) => event).sort()).toEqual(events.sort());
  });

  it.each(files)("agree with the schema: $event", ({ event, valid, invalid }) => {
    const validate = validator(table, event);
    expect(valid.filter(({ payload }) => !validate(payload))).toEqual([]);
    expect(invalid.filter(({ payload }) => validate(payload))).toEqual([]);
  });
});

describe("the auth objects of CONNECT", () => {
  const { valid, invalid } = connects();

  it("agree with the schema", () => {
    const validate = validator("ConnectAuth", "");
    expect(valid.filter(({ payload }) => !validate(payload))).toEqual([]);
    expect(invalid.filter(({ payload }) => validate(payload))).toEqual([]);
  });
});

/** The compiler asks for each member of T, with whether it may be absent. */
type Members<T> = { [K in keyof T]-?: Partial<Pick<T, K>> extends Pick<T, K> ? "?" : "!" };

function members<T>(table: Members<T>): Record<string, string> {
  return table;
}

const ICE: Record<string, string> = members<Ice>({
  iceServers: "!",
  iceTransportPolicy: "!",
  bundlePolicy: "!",
  ttl: "?",
  expiresAt: "?",
  refreshAfter: "?",
  warning: "?",
});

const OBJECTS: [string, Record<string, string>][] = [
  ["Ice", ICE],
  ["QueueJoin", members<QueueJoin>({ mode: "!", interests: "!", privacy: "!" })],
  ["MatchAccept", members<ClientEvents["match.accept"]>({ pair: "!" })],
  ["MatchNext", members<ClientEvents["match.next"]>({ pair: "!", join: "?" })],
  ["MatchLeave", members<ClientEvents["match.leave"]>({ pair: "!" })],
  ["IceRefresh", members<ClientEvents["ice.refresh"]>({ pair: "?" })],
  [
    "Candidate",
    members<Candidate>({
      candidate: "!",
      sdpMid: "?",
      sdpMLineIndex: "?",
      usernameFragment: "?",
    }),
  ],
  [
    "Limits",
    members<Limits>({
      interests: "!",
      interestChars: "!",
      sdpBytes: "!",
      candidateBytes: "!",
      candidatesPerGeneration: "!",
      eventsPerSecond: "!",
      eventBurst: "!",
      nextPerSecond: "!",
      nextBurst: "!",
      budget: "?",
    }),
  ],
  [
    "Hello",
    members<Hello>({
      seq: "!",
      session: "!",
      resume: "!",
      resumeTtl: "!",
      token: "!",
      ice: "!",
      limits: "!",
      online: "!",
      node: "!",
    }),
  ],
  ["QueueState", members<QueueState>({ seq: "!", state: "!", since: "!", widened: "!" })],
  [
    "MatchFound",
    members<MatchFound>({
      seq: "!",
      pair: "!",
      role: "!",
      polite: "!",
      common: "!",
      ice: "!",
      deadlineMs: "!",
    }),
  ],
  ["ConnectAuth", members<ConnectAuth>({ v: "!", resume: "?", device: "?", client: "?" })],
  ["Resume", members<NonNullable<ConnectAuth["resume"]>>({ id: "!", lastSeq: "!" })],
  [
    "SessionResumed",
    members<SessionResumed>({ seq: "!", state: "!", pair: "?", lastClientSeq: "!" }),
  ],
  ["Report", members<Report>({ pair: "!", category: "!", note: "?", block: "!" })],
  ["ChatSend", members<ClientEvents["chat.send"]>({ pair: "!", id: "!", text: "!" })],
  ["ChatTyping", members<ClientEvents["chat.typing"]>({ pair: "!", on: "!" })],
  [
    "ChatMessage",
    members<ServerEvents["chat.message"]>({ seq: "!", pair: "!", id: "!", text: "!" }),
  ],
  ["PeerTyping", members<ServerEvents["chat.typing"]>({ seq: "!", pair: "!", on: "!" })],
  ["PeerState", members<PeerState>({ seq: "!", pair: "!", state: "!", graceMs: "!" })],
  ["MatchStart", members<MatchStart>({ seq: "!", pair: "!" })],
  ["MatchEnded", members<MatchEnded>({ seq: "!", pair: "!", reason: "!", state: "!" })],
  ["Notice", members<Notice>({ seq: "!", kind: "!", reconnectInMs: "!" })],
  ["Refused", members<Refused>({ ok: "!", code: "!", retryAfterMs: "?", expectedSeq: "?" })],
  ["Problem", members<Problem>({ type: "!", title: "!", status: "!", detail: "!", code: "!" })],
];

describe("the types", () => {
  it.each(OBJECTS)("have the members of the schema: %s", (name, table) => {
    expect(table).toEqual(membersOf(schema.$defs[name]));
  });

  it("have the members of both kinds of stats", () => {
    const connected = members<ConnectedStats>({
      pair: "!",
      state: "!",
      local: "!",
      remote: "!",
      relayProtocol: "?",
      ttfmMs: "!",
      rttMs: "?",
    });
    const failed = members<FailedStats>({ pair: "!", state: "!" });
    expect([connected, failed]).toEqual(schema.$defs.PairStats?.oneOf?.map(membersOf));
  });

  it("name the events of the schema", () => {
    const client: Record<keyof ClientEvents & keyof Acks, true> = {
      "queue.join": true,
      "queue.leave": true,
      "match.accept": true,
      "match.next": true,
      "match.leave": true,
      signal: true,
      "chat.send": true,
      "chat.typing": true,
      "pair.stats": true,
      "ice.refresh": true,
      report: true,
      bye: true,
    };
    const server: Record<keyof ServerEvents, true> = {
      hello: true,
      "session.resumed": true,
      "queue.state": true,
      "match.found": true,
      "match.start": true,
      signal: true,
      "chat.message": true,
      "chat.typing": true,
      "peer.state": true,
      "match.ended": true,
      notice: true,
    };
    expect(keysOf(client)).toEqual(keysOf(schema.$defs.ClientEvents?.properties));
    expect(keysOf(client)).toEqual(keysOf(schema.$defs.Acks?.properties));
    expect(keysOf(server)).toEqual(keysOf(schema.$defs.ServerEvents?.properties));
  });

  it("have the closed tables of the schema", () => {
    const errors: Record<ErrorCode, true> = {
      bad_request: true,
      unknown_event: true,
      rate_limited: true,
      out_of_order: true,
      stale_generation: true,
      not_in_pair: true,
      wrong_state: true,
      not_initiator: true,
      draining: true,
      unsupported_version: true,
      overloaded: true,
      banned: true,
    };
    const problems: Record<ProblemCode, true> = {
      bad_request: true,
      unauthorized: true,
      forbidden: true,
      not_found: true,
      method_not_allowed: true,
      payload_too_large: true,
      unsupported_media_type: true,
      rate_limited: true,
      too_many_sockets: true,
      origin_not_allowed: true,
      relay_unavailable: true,
      not_kept: true,
      internal: true,
    };
    const reasons: Record<MatchEnded["reason"], true> = {
      next: true,
      left: true,
      lost: true,
      expired: true,
      reported: true,
      quota: true,
      admin: true,
      drain: true,
    };
    const candidates: Record<CandidateType, true> = {
      host: true,
      srflx: true,
      prflx: true,
      relay: true,
      unknown: true,
    };
    const categories: Record<Category, true> = {
      nudity: true,
      harassment: true,
      hate: true,
      minor: true,
      spam: true,
      other: true,
    };
    expect(keysOf(categories)).toEqual(sorted(schema.$defs.Category?.enum));
    expect(keysOf(errors)).toEqual(sorted(schema.$defs.ErrorCode?.enum));
    expect(keysOf(problems)).toEqual(sorted(schema.$defs.ProblemCode?.enum));
    expect(keysOf(reasons)).toEqual(sorted(schema.$defs.MatchEnded?.properties?.reason?.enum));
    expect(keysOf(candidates)).toEqual(sorted(schema.$defs.CandidateType?.enum));
  });
});

function membersOf(
  definition: { properties?: Record<string, unknown>; required?: string[] } | undefined,
): Record<string, string> {
  const { properties = {}, required = [] } = definition ?? {};
  return Object.fromEntries(
    Object.keys(properties).map((name) => [name, required.includes(name) ? "!" : "?"]),
  );
}

function keysOf(table: object = {}): string[] {
  return sorted(Object.keys(table));
}

function sorted(names: string[] = []): string[] {
  return [...names].sort();
}
