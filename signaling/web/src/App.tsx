import { useState } from "react";
import { openCamera, type Wishes } from "turnpike-client";

import { Brand } from "./Brand.tsx";
import { Chat } from "./Chat.tsx";
import { Controls } from "./Controls.tsx";
import { Lobby } from "./Lobby.tsx";
import { PathBadge } from "./PathBadge.tsx";
import { Status } from "./Status.tsx";
import { useKeys } from "./useKeys.ts";
import { type Session, useSession } from "./useSession.ts";
import { LocalVideo, RemoteVideo } from "./Videos.tsx";

const FIRST_WISHES: Wishes = { interests: [], privacy: "all" };

export function App({ stranger }: { stranger: Session }) {
  const session = useSession(stranger);
  const [wishes, setWishes] = useState(FIRST_WISHES);
  const inCall =
    session.remoteStream !== undefined &&
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
    start: session.live ? undefined : start,
    next: mayGoOn ? next : undefined,
    stop: session.live ? stop : undefined,
  });

  const wish = (changed: Wishes) => {
    setWishes(changed);
    stranger.update(changed);
  };

  return (
    <div
      className="app"
      data-view={inCall ? "call" : "lobby"}
      data-partner={session.pair}
      data-ttff-ms={session.firstFrameMs}
    >
      <header className="bar">
        <Brand />
        <PathBadge path={session.path} />
      </header>
      <main className="middle">
        <div className="stage">
          <RemoteVideo
            stream={session.remoteStream}
            onFirstFrame={(stream, at) => {
              stranger.frameDecoded(stream, at);
            }}
          />
          {!inCall && <Lobby phase={session.phase} wishes={wishes} onWish={wish} />}
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
    </div>
  );
}
