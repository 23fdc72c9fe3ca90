import type { Snapshot } from "turnpike-client";

import { sentenceOf } from "./sentences.ts";

export function Status({ session }: { session: Snapshot }) {
  const { title, advice } = sentenceOf(session);
  const common = session.common.join(", ");
  return (
    <p
      className="status"
      role="status"
      aria-live="polite"
      data-testid="status"
      data-state={session.phase}
      data-server={session.serverAway ? "away" : "here"}
      data-peer={session.partnerAway ? "reconnecting" : "here"}
    >
      <strong>{title}</strong>
      {advice !== undefined && <span> {advice}</span>}
      {common !== "" && <span> You both named {common}.</span>}
    </p>
  );
}
