import type { Failure, News, Snapshot } from "turnpike-client";

/** What happened, and what the user can do about it. */
export interface Sentence {
  title: string;
  advice?: string;
}

const FAILURES: Record<Failure, Sentence> = {
  insecure_context: {
    title: "This page came over plain HTTP, so the browser gives it no camera.",
    advice: "Open it with https:// in front, or use localhost on this computer.",
  },
  unsupported: {
    title: "This browser cannot make video calls.",
    advice: "Use a current Firefox, Chrome, Edge or Safari.",
  },
  camera_denied: {
    title: "The camera is blocked for this page.",
    advice: "Allow camera and microphone in the address bar, then press Start. Or chat by text.",
  },
  no_camera: {
    title: "No camera was found.",
    advice: "Connect one, then press Start.",
  },
  camera_busy: {
    title: "The camera could not be opened.",
    advice: "Another program may be using it. Close that, then press Start.",
  },
  camera_lost: {
    title: "Your camera went away.",
    advice: "Connect it again, then press Start.",
  },
  server_unreachable: {
    title: "The server cannot be reached.",
    advice: "Check your internet connection. We keep trying.",
  },
  page_outdated: {
    title: "This page is older than the server.",
    advice: "Reload it to get the current one.",
  },
  banned: {
    title: "You cannot take part at the moment.",
    advice:
      "People you met have reported you, or the operator keeps you out. Try again another day.",
  },
};

const NEWS: Record<News, Sentence> = {
  partner_next: { title: "Your partner moved on.", advice: "Looking for someone new…" },
  partner_left: { title: "Your partner left.", advice: "Looking for someone new…" },
  partner_lost: { title: "The call was lost.", advice: "Looking for someone new…" },
  call_failed: {
    title: "This call could not connect.",
    advice: "Press Next for someone else. If it happens again, try another network.",
  },
  relay_unavailable: {
    title: "This call could not connect: the relay is not available.",
    advice: "Press Next for someone else, or let calls go directly by not hiding your address.",
  },
  partner_banned: {
    title: "Your partner was removed after reports.",
    advice: "Looking for someone new…",
  },
  quota_spent: {
    title: "The relay's allowance is used up, so this call ended.",
    advice: "Looking for someone who can be reached directly…",
  },
  ended_by_operator: {
    title: "The operator ended this call.",
    advice: "Looking for someone new…",
  },
  report_sent: {
    title: "Thank you, the report was sent.",
    advice: "Looking for someone new…",
  },
  draining: {
    title: "The server is about to restart.",
    advice: "You will be connected again in a moment.",
  },
};

const SERVER_AWAY: Sentence = {
  title: "The connection to the server was lost.",
  advice: "Your call goes on. Trying to get it back…",
};
const PARTNER_AWAY: Sentence = {
  title: "Your partner lost the connection to the server.",
  advice: "The call goes on while they come back.",
};

/** The one thing to say now. */
export function sentenceOf(snapshot: Snapshot): Sentence {
  const { phase, failure, news } = snapshot;
  if (failure !== undefined) return FAILURES[failure];
  switch (phase) {
    case "error":
    case "idle":
      return snapshot.mode === "text"
        ? { title: "Ready when you are.", advice: "Text only: your camera stays off." }
        : { title: "Ready when you are.", advice: "Start opens your camera and microphone." };
    case "starting":
      return snapshot.localStream === undefined && snapshot.mode === "video"
        ? { title: "Opening your camera…", advice: "Allow it if the browser asks." }
        : { title: "Calling the server…" };
    case "waiting":
      return news === undefined ? { title: "Looking for someone…" } : NEWS[news];
    case "connecting":
      return snapshot.relayUnavailable
        ? { title: "Found someone. Connecting…", advice: "Without the relay, which is away." }
        : { title: "Found someone. Connecting…" };
    case "connected":
      if (snapshot.serverAway) return SERVER_AWAY;
      if (snapshot.partnerAway) return PARTNER_AWAY;
      return news === undefined ? { title: "You are connected. Say hello!" } : NEWS[news];
    case "reconnecting":
      return news === "draining"
        ? NEWS.draining
        : { title: "The connection was lost.", advice: "Trying to get it back…" };
    case "ended":
      return NEWS[news ?? "call_failed"];
  }
}
