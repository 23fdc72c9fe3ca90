type Listener<T> = (payload: T) => void;

/** Typed listeners by event name. */
export class Emitter<Events extends object> {
  readonly #listeners = new Map<keyof Events, Set<Listener<never>>>();

  /** Adds a listener and returns what removes it. */
  on<E extends keyof Events>(event: E, listener: Listener<Events[E]>): () => void {
    const listeners = this.#listeners.get(event) ?? new Set();
    listeners.add(listener);
    this.#listeners.set(event, listeners);
    return () => {
      listeners.delete(listener);
    };
  }

  protected emit<E extends keyof Events>(event: E, payload: Events[E]): void {
    const listeners = this.#listeners.get(event) as Set<Listener<Events[E]>> | undefined;
    for (const listener of [...(listeners ?? [])]) listener(payload);
  }
}
