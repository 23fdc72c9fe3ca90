import { useState } from "react";
import { type Failure, openCamera, type Wishes } from "turnpike-client";

import { Brand } from "./Brand.tsx";
import { Chat } from "./Chat.tsx";
import { Controls } from "./Controls.tsx";
import { FlagIcon } from "./icons.tsx";
import { Lobby } from "./Lobby.tsx";
import { PathBadge } from "./PathBadge.tsx";
import { ReportDialog } from "./ReportDialog.tsx";
import { Status } from "./Status.tsx";
import { useKeys } from "./useKeys.ts";
import { type Session, useSession } from "./useSession.ts";
import { LocalVideo, RemoteVideo } from "./Videos.tsx";

const FIRST_WISHES: Wishes = { mode: "video", interests: [], privacy: "all" };

export function App({ stranger }: { stranger: Session }) {
  const session = useSession(stranger);
  const [wishes, setWishes] = useState(FIRST_WISHES);
  const [reporting, setReporting] = useState(false);
  const isText = session.live && session.mode === "text";
  const inCall =
    (isText ? session.pair !== undefined : session.remoteStream !== undefined) &&
    (session.phase === "connected" || session.phase === "reconnecting");
  const mayGoOn = session.pair !== undefined || session.phase === "ended";

  const start = () => void stranger.start(openCamera, wishes);
  const next = () => {
    stranger.next();
  };
  const stop = () => {
    stranger.stop();
  };
  useKeys({
    start: session.live || reporting ? undefined : start,
    next: mayGoOn && !reporting ? next : undefined,
    stop: session.live && !reporting ? stop : undefined,
  });

  const startText = () => {
    const text: Wishes = { ...wishes, mode: "text" };
    setWishes(text);
    void stranger.start(openCamera, text);
  };

  const wish = (changed: Wishes) => {
    setWishes(changed);
    stranger.update(changed);
  };

  return (
    <div
      className="app"
      data-view={inCall ? "call" : "lobby"}
      data-mode={session.mode}
      data-partner={session.pair}
      data-ttff-ms={session.firstFrameMs}
    >
      <header className="bar">
        <Brand />
        <div className="bar-right">
          {session.reportable && (
            <button
              type="button"
              className="report-open"
              onClick={() => {
                setReporting(true);
              }}
            >
              <FlagIcon />
              <span>{session.pair === undefined ? "Report the last one" : "Report"}</span>
            </button>
          )}
          <PathBadge path={session.path} />
        </div>
      </header>
      <main className="middle">
        <div className="stage">
          <RemoteVideo
            stream={session.remoteStream}
            onFirstFrame={(stream, at) => {
              stranger.frameDecoded(stream, at);
            }}
          />
          {!inCall && (
            <Lobby
              phase={session.phase}
              live={session.live}
              wishes={wishes}
              onWish={wish}
              onText={mayWrite(session.failure) ? startText : undefined}
            />
          )}
          <LocalVideo stream={session.localStream} hidden={!session.camera} />
        </div>
        {inCall && (
          <Chat
            key={session.pair}
            lines={session.lines}
            partnerTyping={session.partnerTyping}
            onSay={(text) => {
              stranger.say(text);
            }}
            onTyping={(on) => {
              stranger.typing(on);
            }}
          />
        )}
      </main>
      <footer className="dock">
        <Status session={session} />
        <Controls
          session={session}
          mayGoOn={mayGoOn}
          onStart={start}
          onNext={next}
          onStop={stop}
          onMicrophone={(on) => {
            stranger.setMicrophone(on);
          }}
          onCamera={(on) => {
            stranger.setCamera(on);
          }}
        />
      </footer>
      {reporting && (
        <ReportDialog
          onReport={(report) => stranger.report(report)}
          onClose={() => {
            setReporting(false);
          }}
        />
      )}
    </div>
  );
}

/** Who has no camera can still write. */
function mayWrite(failure: Failure | undefined): boolean {
  switch (failure) {
    case "insecure_context":
    case "unsupported":
    case "camera_denied":
    case "no_camera":
    case "camera_busy":
    case "camera_lost":
      return true;
    case "server_unreachable":
    case "page_outdated":
    case "banned":
    case undefined:
      return false;
  }
}
