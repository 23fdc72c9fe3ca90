interface NetworkListeners {
  /** The browser has a network again. */
  online: () => void;
  /** Another kind of network than before, such as mobile data for Wi-Fi: sockets of the other one are dead. */
  changed: () => void;
}

/** Told by some browsers alone. */
type Connection = EventTarget & { type?: string };

/** Listens to what the browser knows of its network; returns what ends that. */
export function onNetworkChange({ online, changed }: NetworkListeners): () => void {
  if (typeof window === "undefined") return () => undefined;
  const page = window;
  const connection = (page.navigator as { connection?: Connection } | undefined)?.connection;
  let kind = connection?.type;
  const looked = () => {
    const before = kind;
    kind = connection?.type;
    // The event tells of every new estimate of the speed as well.
    if (kind !== before && kind !== "none" && before !== "none") changed();
  };
  page.addEventListener("online", online);
  connection?.addEventListener("change", looked);
  return () => {
    page.removeEventListener("online", online);
    connection?.removeEventListener("change", looked);
  };
}
