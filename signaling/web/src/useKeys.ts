import { useEffect, useEffectEvent } from "react";

/** What the keys do; a key of an action that is absent does nothing. */
export interface KeyActions {
  start: (() => void) | undefined;
  next: (() => void) | undefined;
  stop: (() => void) | undefined;
}

const OWN_KEYS = "input, textarea, select, button, a[href], [contenteditable]";

/** Enter or Space starts, N goes to the next partner, Escape stops. */
export function useKeys(actions: KeyActions): void {
  const pressed = useEffectEvent((event: KeyboardEvent) => {
    const action = actionOf(event, actions);
    if (action === undefined) return;
    event.preventDefault();
    action();
  });

  useEffect(() => {
    const listener = (event: KeyboardEvent) => {
      pressed(event);
    };
    window.addEventListener("keydown", listener);
    return () => {
      window.removeEventListener("keydown", listener);
    };
  }, []);
}

function actionOf(event: KeyboardEvent, actions: KeyActions): (() => void) | undefined {
  if (event.defaultPrevented || event.repeat || event.ctrlKey || event.metaKey || event.altKey) {
    return undefined;
  }
  const target = event.target instanceof Element ? event.target : null;
  const typing = target?.closest("input, textarea, select, [contenteditable]") != null;
  switch (event.key) {
    case "Enter":
    case " ":
      return target?.closest(OWN_KEYS) == null ? actions.start : undefined;
    case "n":
    case "N":
      return typing ? undefined : actions.next;
    case "Escape":
      return typing ? undefined : actions.stop;
    default:
      return undefined;
  }
}
