import type { Id } from "./contract.ts";
import type { Signaling } from "./signaling.ts";

/** One line of the text beside a call. */
export interface Line {
  readonly id: string;
  readonly from: "you" | "partner";
  readonly text: string;
  /** `failed`: the pair ended before the server took it. */
  readonly state: "sending" | "sent" | "failed";
}

const MOST_BYTES = 2048;
/** How long "typing" is believed without a word. */
const TYPING_MS = 5000;
/** How soon it is said again while one types. */
const TYPING_AGAIN_MS = 3000;

type Timer = ReturnType<typeof setTimeout>;

/** The text of one pair, in the order in which it was written and heard. */
export class Chat {
  readonly #signaling: Signaling;
  readonly #pair: Id;
  readonly #changed: () => void;
  #lines: readonly Line[] = [];
  #partnerTyping = false;
  #typingTimer: Timer | undefined;
  #saidTypingAt: number | undefined;
  #nextId = 1;
  #closed = false;

  constructor(signaling: Signaling, pair: Id, changed: () => void) {
    this.#signaling = signaling;
    this.#pair = pair;
    this.#changed = changed;
  }

  get lines(): readonly Line[] {
    return this.#lines;
  }

  get partnerTyping(): boolean {
    return this.#partnerTyping;
  }

  /** Sends a line, cut to what the server takes; nothing when it is blank. */
  async say(text: string): Promise<void> {
    const line = cut(text.trim());
    if (line === "" || this.#closed) return;
    const id = String(this.#nextId++);
    this.#saidTypingAt = undefined;
    this.#add({ id, from: "you", text: line, state: "sending" });
    const answer = await this.#signaling.request("chat.send", { pair: this.#pair, id, text: line });
    const state = answer.ok ? "sent" : "failed";
    this.#lines = this.#lines.map((other) =>
      other.id === id && other.from === "you" ? { ...other, state } : other,
    );
    this.#tell();
  }

  /** The user writes, or has taken it back. */
  typing(on: boolean): void {
    const now = performance.now();
    const recent = this.#saidTypingAt !== undefined && now - this.#saidTypingAt < TYPING_AGAIN_MS;
    if (this.#closed || (on ? recent : this.#saidTypingAt === undefined)) return;
    this.#saidTypingAt = on ? now : undefined;
    void this.#signaling.request("chat.typing", { pair: this.#pair, on });
  }

  heard(id: string, text: string): void {
    this.#setTyping(false);
    this.#add({ id, from: "partner", text, state: "sent" });
  }

  heardTyping(on: boolean): void {
    this.#setTyping(on);
    if (on) {
      this.#typingTimer = setTimeout(() => {
        this.heardTyping(false);
      }, TYPING_MS);
    }
    this.#tell();
  }

  close(): void {
    this.#closed = true;
    clearTimeout(this.#typingTimer);
  }

  #setTyping(on: boolean): void {
    clearTimeout(this.#typingTimer);
    this.#partnerTyping = on;
  }

  #add(line: Line): void {
    this.#lines = [...this.#lines, line];
    this.#tell();
  }

  #tell(): void {
    if (!this.#closed) this.#changed();
  }
}

/** At most so many bytes, and no half of a character. */
function cut(text: string): string {
  const bytes = new TextEncoder().encode(text);
  if (bytes.length <= MOST_BYTES) return text;
  return new TextDecoder().decode(bytes.slice(0, MOST_BYTES)).replace(/\uFFFD+$/, "");
}
