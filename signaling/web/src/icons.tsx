const FRAME = { viewBox: "0 0 24 24", width: 24, height: 24, "aria-hidden": true } as const;

export function MicrophoneIcon({ on }: { on: boolean }) {
  return (
    <svg {...FRAME} className="icon">
      <rect x="9" y="3" width="6" height="11" rx="3" />
      <path d="M5.5 11.5a6.5 6.5 0 0 0 13 0M12 18v3" />
      {!on && <Strike />}
    </svg>
  );
}

export function CameraIcon({ on }: { on: boolean }) {
  return (
    <svg {...FRAME} className="icon">
      <rect x="3" y="6.5" width="12" height="11" rx="2.5" />
      <path d="m15 11 6-3.5v9L15 13" />
      {!on && <Strike />}
    </svg>
  );
}

export function SendIcon() {
  return (
    <svg {...FRAME} className="icon">
      <path d="M4 12h15M13 6l6 6-6 6" />
    </svg>
  );
}

export function FlagIcon() {
  return (
    <svg {...FRAME} className="icon">
      <path d="M5 21V4M5 4.5h12.5l-3 4 3 4H5" />
    </svg>
  );
}

function Strike() {
  return (
    <>
      <path className="strike-gap" d="M4 4l16 16" />
      <path d="M4 4l16 16" />
    </>
  );
}
