import { type RefObject, useEffect, useEffectEvent, useRef } from "react";

type Stream = MediaStream | undefined;

interface RemoteVideoProps {
  stream: Stream;
  /** `at` is on the clock of `performance.now`. */
  onFirstFrame: (stream: MediaStream, at: number) => void;
}

export function RemoteVideo({ stream, onFirstFrame }: RemoteVideoProps) {
  const video = useVideo(stream);
  const firstFrame = useEffectEvent(onFirstFrame);

  useEffect(() => {
    const element = video.current;
    if (element === null || stream === undefined) return undefined;
    // Browsers without it leave the first frame to the statistics.
    if (!("requestVideoFrameCallback" in element)) return undefined;
    const handle = element.requestVideoFrameCallback((now) => {
      firstFrame(stream, now);
    });
    return () => {
      element.cancelVideoFrameCallback(handle);
    };
  }, [video, stream]);

  return (
    <video
      ref={video}
      className="remote"
      data-testid="remote-video"
      aria-label="Your partner"
      autoPlay
      playsInline
    />
  );
}

export function LocalVideo({ stream, hidden }: { stream: Stream; hidden: boolean }) {
  const video = useVideo(stream);
  return (
    <div className="local" data-on={stream !== undefined}>
      <video
        ref={video}
        data-testid="local-video"
        aria-label="You"
        autoPlay
        playsInline
        muted
        data-hidden={hidden}
      />
      {hidden && <span className="local-off">Camera off</span>}
    </div>
  );
}

/** A video element that plays the stream; `srcObject` is touched only when the stream changes. */
function useVideo(stream: Stream): RefObject<HTMLVideoElement | null> {
  const video = useRef<HTMLVideoElement>(null);
  useEffect(() => {
    const element = video.current;
    if (element === null || stream === undefined) return undefined;
    element.srcObject = stream;
    return () => {
      element.srcObject = null;
    };
  }, [stream]);
  return video;
}
