import { useId } from "react";
import type { Path } from "turnpike-client";

const EXPLAINED: Record<Path, { name: string; sentence: string }> = {
  direct: {
    name: "Direct",
    sentence:
      "Sound and picture go straight from you to your partner. That is fastest, and each side can see the other’s address.",
  },
  relayed: {
    name: "Relayed",
    sentence:
      "Sound and picture go through this server’s relay, because a network stands in the way or one of you hides the address. They stay encrypted between the two of you.",
  },
};

/** How the media of the call travels, explained on hover and focus. */
export function PathBadge({ path }: { path: Path | undefined }) {
  const tip = useId();
  return (
    <div className="path" data-testid="path" data-path={path ?? "unknown"}>
      {path !== undefined && (
        <>
          <button type="button" className="path-badge" aria-describedby={tip}>
            <PathIcon path={path} />
            {EXPLAINED[path].name}
          </button>
          <span id={tip} role="tooltip" className="path-tip">
            {EXPLAINED[path].sentence}
          </span>
        </>
      )}
    </div>
  );
}

function PathIcon({ path }: { path: Path }) {
  return (
    <svg viewBox="0 0 24 12" width="24" height="12" aria-hidden="true">
      <circle cx="3" cy="9" r="2.5" />
      <circle cx="21" cy="9" r="2.5" />
      {path === "direct" ? <path d="M6 9h12" /> : <path d="M5 7 11 2.6M13 2.6 19 7" />}
      {path === "relayed" && <circle cx="12" cy="2.5" r="2" />}
    </svg>
  );
}
