// The same contract in the plain way, for comparison: Socket.IO on Node, one process, state in memory.
import { createHmac, randomBytes } from "node:crypto";
import { createServer } from "node:http";
import { Server } from "socket.io";

const ACCEPT_WITHIN = 3000;
const REMATCH_AFTER = 300_000;
const CANDIDATES = 64;
const SECRET = "a secret of the benchmark, of 32 bytes and more";

const id = () => randomBytes(16).toString("base64url");
const http = createServer();
const io = new Server(http, {
  transports: ["websocket"],
  maxHttpBufferSize: 65536,
  pingInterval: 10_000,
  pingTimeout: 5000,
  serveClient: false,
});

/** Oldest first; a Set keeps the order of insertion and forgets in constant time. */
const queue = new Set();
const pairs = new Map();

function ice(session, pair) {
  const username = `${Math.floor(Date.now() / 1000) + 600}:${session.id}.${pair}`;
  const credential = createHmac("sha1", SECRET).update(username).digest("base64");
  const turn = { urls: ["turn:198.18.0.1:3478?transport=udp"], username, credential };
  return {
    iceServers: [{ urls: ["stun:198.18.0.1:3478"] }, turn],
    iceTransportPolicy: "all",
    ttl: 600,
  };
}

function emit(session, name, payload) {
  session.seq += 1;
  session.socket.emit(name, { ...payload, seq: session.seq });
}

function mayMeet(a, b) {
  if (a === b || a.mode !== b.mode) return false;
  const met = a.met.get(b.id);
  return met === undefined || met + REMATCH_AFTER < Date.now();
}

function join(session, { mode }) {
  if (session.pair !== undefined || queue.has(session)) return;
  session.mode = mode;
  for (const waiting of queue) {
    if (mayMeet(session, waiting)) return found(waiting, session);
  }
  queue.add(session);
  emit(session, "queue.state", { state: "waiting", since: Date.now(), widened: false });
}

function found(initiator, responder) {
  queue.delete(initiator);
  const pair = {
    id: id(),
    sides: [initiator, responder],
    accepted: new Set(),
    generation: [0, 0],
    candidates: [0, 0],
  };
  pair.timer = setTimeout(() => end(pair, "lost"), ACCEPT_WITHIN);
  pairs.set(pair.id, pair);
  initiator.met.set(responder.id, Date.now());
  responder.met.set(initiator.id, Date.now());
  pair.sides.forEach((session, number) => {
    session.pair = pair;
    emit(session, "match.found", {
      pair: pair.id,
      role: number === 0 ? "initiator" : "responder",
      polite: number === 1,
      common: [],
      ice: ice(session, pair.id),
      deadlineMs: ACCEPT_WITHIN,
    });
  });
}

function accept(session, { pair }) {
  if (session.pair?.id !== pair) throw new Error("not_in_pair");
  session.pair.accepted.add(session);
  if (session.pair.accepted.size < 2) return;
  clearTimeout(session.pair.timer);
  session.pair.sides.forEach((side) => emit(side, "match.start", { pair }));
}

function end(pair, reason) {
  clearTimeout(pair.timer);
  pairs.delete(pair.id);
  for (const session of pair.sides) {
    session.pair = undefined;
    emit(session, "match.ended", { pair: pair.id, reason, state: "idle" });
  }
}

function signal(session, { pair, seq, gen, description, candidates, end: last }) {
  if (session.pair?.id !== pair || session.pair.accepted.size < 2) throw new Error("not_in_pair");
  if (seq !== session.nextSignal) throw new Error("out_of_order");
  session.nextSignal += 1;
  const side = session.pair.sides.indexOf(session);
  if (gen < session.pair.generation[side]) throw new Error("stale_generation");
  if (gen > session.pair.generation[side]) session.pair.candidates[side] = 0;
  session.pair.generation[side] = gen;
  if (description !== undefined) {
    const { type, sdp } = description;
    if (
      !["offer", "answer", "pranswer"].includes(type) ||
      !sdp.startsWith("v=0") ||
      sdp.length > 32768
    ) {
      throw new Error("bad_request");
    }
    if (!sdp.includes("a=ice-ufrag") || !sdp.includes("a=fingerprint"))
      throw new Error("bad_request");
  }
  session.pair.candidates[side] += candidates?.length ?? 0;
  if (session.pair.candidates[side] > CANDIDATES) throw new Error("bad_request");
  emit(session.pair.sides[1 - side], "signal", { pair, gen, description, candidates, end: last });
}

const handlers = {
  "queue.join": join,
  "queue.leave": (session) => queue.delete(session),
  "match.accept": accept,
  "match.leave": (session, { pair }) => session.pair?.id === pair && end(session.pair, "left"),
  signal,
};

io.use((socket, next) =>
  next(socket.handshake.auth.v === 1 ? undefined : new Error("unsupported_version")),
);

io.on("connection", (socket) => {
  const session = { id: id(), socket, seq: 0, nextSignal: 1, met: new Map(), pair: undefined };
  for (const [name, handler] of Object.entries(handlers)) {
    socket.on(name, (payload, ack) => {
      try {
        handler(session, payload);
        ack?.({ ok: true });
      } catch (error) {
        ack?.({ ok: false, code: error.message });
      }
    });
  }
  socket.on("disconnect", () => {
    queue.delete(session);
    if (session.pair !== undefined) end(session.pair, "lost");
  });
  const stun = { iceServers: [{ urls: ["stun:198.18.0.1:3478"] }], iceTransportPolicy: "all" };
  emit(session, "hello", {
    session: session.id,
    resume: id(),
    token: id(),
    ice: stun,
    node: "node",
  });
});

http.listen(Number(process.argv[2]), "127.0.0.1");
process.on("SIGTERM", () => process.exit(0));
