import { type SyntheticEvent, useEffect, useId, useRef, useState } from "react";
import type { Category, Report } from "turnpike-client";

const CATEGORIES: Record<Category, string> = {
  nudity: "Nudity or sexual behaviour",
  harassment: "Harassment or threats",
  hate: "Hate",
  minor: "Seems to be a child",
  spam: "Advertising or a recording",
  other: "Something else",
};

interface ReportDialogProps {
  /** False when the server did not take it. */
  onReport: (report: Omit<Report, "pair">) => Promise<boolean>;
  onClose: () => void;
}

/** Asks what was wrong; the partner is not told. Escape closes it, and the focus goes back to where it was. */
export function ReportDialog({ onReport, onClose }: ReportDialogProps) {
  const dialog = useRef<HTMLDialogElement>(null);
  const [category, setCategory] = useState<Category>();
  const [note, setNote] = useState("");
  const [block, setBlock] = useState(true);
  const [state, setState] = useState<"asking" | "sending" | "failed">("asking");
  const title = useId();

  useEffect(() => {
    const element = dialog.current;
    element?.showModal();
    return () => {
      element?.close();
    };
  }, []);

  const send = async (event: SyntheticEvent) => {
    event.preventDefault();
    if (category === undefined || state === "sending") return;
    setState("sending");
    if (await onReport({ category, note, block })) onClose();
    else setState("failed");
  };

  return (
    <dialog
      ref={dialog}
      className="report"
      aria-labelledby={title}
      onCancel={(event) => {
        event.preventDefault();
        onClose();
      }}
    >
      <form onSubmit={(event) => void send(event)}>
        <h2 id={title}>What was wrong?</h2>
        <p>Your partner is not told. If a call is on, it ends, and you look for someone else.</p>
        <fieldset>
          <legend className="said-by">Reason</legend>
          {(Object.keys(CATEGORIES) as Category[]).map((each) => (
            <label key={each} className="reason">
              <input
                type="radio"
                name="category"
                value={each}
                checked={category === each}
                onChange={() => {
                  setCategory(each);
                }}
              />
              {CATEGORIES[each]}
            </label>
          ))}
        </fieldset>
        <label className="note">
          <span>
            Anything to add? <small>optional, for the operator</small>
          </span>
          <textarea
            rows={2}
            maxLength={500}
            value={note}
            onChange={(event) => {
              setNote(event.target.value);
            }}
          />
        </label>
        <label className="switch">
          <input
            type="checkbox"
            role="switch"
            checked={block}
            onChange={(event) => {
              setBlock(event.target.checked);
            }}
          />
          <span className="switch-text">Never meet this person again</span>
        </label>
        {state === "failed" && (
          <p className="not-taken" role="alert">
            The report could not be sent: it is more than a minute since the call, or the server is
            away.
          </p>
        )}
        <div className="choice">
          <button type="button" className="cancel" onClick={onClose}>
            Cancel
          </button>
          <button
            type="submit"
            className="send"
            aria-disabled={category === undefined || state === "sending"}
          >
            {state === "sending" ? "Sending…" : "Send report"}
          </button>
        </div>
      </form>
    </dialog>
  );
}
