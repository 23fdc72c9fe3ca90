import { type KeyboardEvent, useId, useState } from "react";

interface InterestsProps {
  interests: string[];
  onChange: (interests: string[]) => void;
}

/** What the server takes. */
const MOST = { interests: 10, characters: 30 };

/** Interests as tags: Enter or a comma adds one, Backspace in the empty field takes the last away. */
export function Interests({ interests, onChange }: InterestsProps) {
  const [draft, setDraft] = useState("");
  const id = useId();
  const full = interests.length >= MOST.interests;

  const add = () => {
    const interest = draft.trim().toLowerCase();
    setDraft("");
    if (interest !== "" && !full && !interests.includes(interest))
      onChange([...interests, interest]);
  };
  const remove = (interest: string) => {
    onChange(interests.filter((other) => other !== interest));
  };
  const pressed = (event: KeyboardEvent) => {
    if (event.key === "Enter" || event.key === ",") {
      event.preventDefault();
      add();
    } else if (event.key === "Backspace" && draft === "") {
      onChange(interests.slice(0, -1));
    }
  };

  return (
    <div className="interests">
      <label htmlFor={id}>
        What would you like to talk about? <small>optional</small>
      </label>
      <div className="tags">
        {interests.map((interest) => (
          <span key={interest} className="tag">
            {interest}
            <button
              type="button"
              aria-label={`Remove ${interest}`}
              onClick={() => {
                remove(interest);
              }}
            >
              <svg viewBox="0 0 12 12" width="12" height="12" aria-hidden="true">
                <path d="m3 3 6 6m0-6-6 6" />
              </svg>
            </button>
          </span>
        ))}
        <input
          id={id}
          value={draft}
          maxLength={MOST.characters}
          disabled={full}
          placeholder={
            full ? "That is plenty" : interests.length === 0 ? "music, climbing…" : "one more"
          }
          autoComplete="off"
          enterKeyHint="done"
          onChange={(event) => {
            setDraft(event.target.value);
          }}
          onKeyDown={pressed}
          onBlur={add}
        />
      </div>
    </div>
  );
}
