import type { Mode, Phase, Wishes } from "turnpike-client";

import { Interests } from "./Interests.tsx";

interface LobbyProps {
  phase: Phase;
  live: boolean;
  wishes: Wishes;
  onWish: (wishes: Wishes) => void;
  /** Goes on in writing, where the camera stands in the way. */
  onText: (() => void) | undefined;
}

/** What is on the stage while there is no partner to see. */
export function Lobby({ phase, live, wishes, onWish, onText }: LobbyProps) {
  return (
    <section className="lobby" data-phase={phase} aria-label="Before the call">
      {phase === "idle" ? (
        <div className="greeting">
          <h2>
            Someone is <em>out there.</em>
          </h2>
          <p>
            {wishes.mode === "video"
              ? "Press Start and talk to a stranger, face to face. Press Next for another."
              : "Press Start and write with a stranger, without a camera. Press Next for another."}
          </p>
        </div>
      ) : (
        <Lanes />
      )}
      {onText !== undefined && (
        <button type="button" className="instead" onClick={onText}>
          Chat by text instead
        </button>
      )}
      {phase !== "connecting" && (
        <div className="wishes">
          {!live && (
            <Modes
              mode={wishes.mode}
              onChange={(mode) => {
                onWish({ ...wishes, mode });
              }}
            />
          )}
          <Interests
            interests={wishes.interests}
            onChange={(interests) => {
              onWish({ ...wishes, interests });
            }}
          />
          {wishes.mode === "video" && (
            <HideAddress
              on={wishes.privacy === "relay"}
              onChange={(on) => {
                onWish({ ...wishes, privacy: on ? "relay" : "all" });
              }}
            />
          )}
        </div>
      )}
    </section>
  );
}

const MODES: Record<Mode, string> = { video: "Face to face", text: "Text only" };

function Modes({ mode, onChange }: { mode: Mode; onChange: (mode: Mode) => void }) {
  return (
    <div className="modes" role="radiogroup" aria-label="How to talk">
      {(Object.keys(MODES) as Mode[]).map((each) => (
        <label key={each} data-on={each === mode}>
          <input
            type="radio"
            name="mode"
            checked={each === mode}
            onChange={() => {
              onChange(each);
            }}
          />
          {MODES[each]}
        </label>
      ))}
    </div>
  );
}

/** Two strangers on their lanes; the style sheet moves them by phase. */
function Lanes() {
  return (
    <svg className="lanes" viewBox="0 0 320 96" aria-hidden="true">
      <path className="lane" d="M0 48h320" />
      <rect className="sign" x="132" y="20" width="56" height="56" rx="10" />
      <circle className="you" cx="160" cy="48" r="9" />
      <circle className="them" cx="160" cy="48" r="9" />
    </svg>
  );
}

function HideAddress({ on, onChange }: { on: boolean; onChange: (on: boolean) => void }) {
  return (
    <label className="switch">
      <input
        type="checkbox"
        role="switch"
        checked={on}
        aria-describedby="hide-address"
        onChange={(event) => {
          onChange(event.target.checked);
        }}
      />
      <span className="switch-text">
        Hide my address
        <small id="hide-address">
          Calls go through the relay, so your partner never learns your IP address.
        </small>
      </span>
    </label>
  );
}
