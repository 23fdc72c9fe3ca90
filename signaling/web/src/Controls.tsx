import { useRef } from "react";
import type { Snapshot } from "turnpike-client";

import { CameraIcon, MicrophoneIcon } from "./icons.tsx";

interface ControlsProps {
  session: Snapshot;
  /** Whether there is a partner to leave or a call to go on from. */
  mayGoOn: boolean;
  onStart: () => void;
  onNext: () => void;
  onStop: () => void;
  onMicrophone: (on: boolean) => void;
  onCamera: (on: boolean) => void;
}

export function Controls(props: ControlsProps) {
  const { session, mayGoOn, onStart, onNext, onStop, onMicrophone, onCamera } = props;
  const main = useRef<HTMLButtonElement>(null);
  const { live, microphone, camera, mode } = session;

  return (
    <div className="controls" role="group" aria-label="Call">
      {mode === "video" && (
        <>
          <Toggle name="microphone" on={microphone} onToggle={onMicrophone}>
            <MicrophoneIcon on={microphone} />
          </Toggle>
          <Toggle name="camera" on={camera} onToggle={onCamera}>
            <CameraIcon on={camera} />
          </Toggle>
        </>
      )}
      {/* One element for both, so that the focus stays when Start becomes Next. */}
      <button
        ref={main}
        type="button"
        className="main"
        aria-disabled={live && !mayGoOn}
        aria-keyshortcuts={live ? "N" : "Enter Space"}
        onClick={live ? (mayGoOn ? onNext : undefined) : onStart}
      >
        {live ? "Next" : "Start"}
        <kbd aria-hidden="true">{live ? "N" : "Space"}</kbd>
      </button>
      {live && (
        <button
          type="button"
          className="stop"
          aria-keyshortcuts="Escape"
          onClick={() => {
            main.current?.focus();
            onStop();
          }}
        >
          Stop
          <kbd aria-hidden="true">Esc</kbd>
        </button>
      )}
    </div>
  );
}

interface ToggleProps {
  name: string;
  on: boolean;
  onToggle: (on: boolean) => void;
  children: React.ReactNode;
}

function Toggle({ name, on, onToggle, children }: ToggleProps) {
  const label = `Turn ${name} ${on ? "off" : "on"}`;
  return (
    <button
      type="button"
      className="toggle"
      data-on={on}
      aria-label={label}
      title={label}
      onClick={() => {
        onToggle(!on);
      }}
    >
      {children}
    </button>
  );
}
