import { useCallback, useEffect, useSyncExternalStore } from "react";
import type { Snapshot, Stranger } from "turnpike-client";

/** What the page needs of a `Stranger`. */
export type Session = Pick<Stranger, keyof Stranger>;

/** What the session shows; leaving the page or unmounting ends it. */
export function useSession(stranger: Session): Snapshot {
  useEffect(() => {
    const stop = () => {
      stranger.stop();
    };
    window.addEventListener("pagehide", stop);
    return () => {
      window.removeEventListener("pagehide", stop);
      stop();
    };
  }, [stranger]);

  return useSyncExternalStore(
    useCallback((changed) => stranger.subscribe(changed), [stranger]),
    () => stranger.snapshot,
  );
}
