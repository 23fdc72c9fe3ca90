import { type KeyboardEvent, useEffect, useRef, useState } from "react";
import type { Line } from "turnpike-client";

import { SendIcon } from "./icons.tsx";

interface ChatProps {
  lines: readonly Line[];
  partnerTyping: boolean;
  onSay: (text: string) => void;
  onTyping: (on: boolean) => void;
}

/** Text beside the call: Enter sends, Escape leaves the field. */
export function Chat({ lines, partnerTyping, onSay, onTyping }: ChatProps) {
  const [draft, setDraft] = useState("");
  const list = useRef<HTMLOListElement>(null);

  // The newest line stays in sight, also when a keyboard on the screen takes its room.
  const toNewest = () => {
    const element = list.current;
    if (element !== null) element.scrollTop = element.scrollHeight;
  };
  useEffect(toNewest, [lines, partnerTyping]);
  useEffect(() => {
    window.addEventListener("resize", toNewest);
    return () => {
      window.removeEventListener("resize", toNewest);
    };
  }, []);

  const say = () => {
    if (draft.trim() === "") return;
    onSay(draft);
    setDraft("");
  };
  const pressed = (event: KeyboardEvent<HTMLInputElement>) => {
    if (event.key === "Escape") event.currentTarget.blur();
    if (event.key !== "Enter" || event.nativeEvent.isComposing) return;
    event.preventDefault();
    say();
  };

  return (
    <section className="chat" aria-label="Text chat">
      <ol ref={list} className="lines" role="log" aria-live="polite" tabIndex={0}>
        {lines.length === 0 && <li className="hint">Only the two of you read this.</li>}
        {lines.map(({ id, from, text, state }) => (
          <li key={`${from} ${id}`} className="line" data-from={from} data-state={state}>
            <span className="said-by">{from === "you" ? "You: " : "Partner: "}</span>
            {text}
            {state === "failed" && <small> not sent</small>}
          </li>
        ))}
        {partnerTyping && (
          <li className="typing" aria-label="Your partner is writing">
            <i />
            <i />
            <i />
          </li>
        )}
      </ol>
      <div className="write">
        <input
          value={draft}
          maxLength={1000}
          placeholder="Write something…"
          aria-label="Message"
          autoComplete="off"
          enterKeyHint="send"
          onChange={(event) => {
            setDraft(event.target.value);
            onTyping(event.target.value.trim() !== "");
          }}
          onKeyDown={pressed}
        />
        <button type="button" aria-label="Send" aria-disabled={draft.trim() === ""} onClick={say}>
          <SendIcon />
        </button>
      </div>
    </section>
  );
}
