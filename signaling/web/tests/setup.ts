import { cleanup } from "@testing-library/react";
import { afterEach } from "vitest";

// jsdom has neither; each element remembers how often its stream was set.
const streams = new WeakMap<HTMLMediaElement, MediaProvider | null>();
export const settings = new WeakMap<HTMLMediaElement, number>();

Object.defineProperty(HTMLMediaElement.prototype, "srcObject", {
  get(this: HTMLMediaElement) {
    return streams.get(this) ?? null;
  },
  set(this: HTMLMediaElement, stream: MediaProvider | null) {
    streams.set(this, stream);
    settings.set(this, (settings.get(this) ?? 0) + 1);
  },
});

// jsdom opens no dialog as a modal one.
HTMLDialogElement.prototype.showModal = function (this: HTMLDialogElement) {
  this.open = true;
};
HTMLDialogElement.prototype.close = function (this: HTMLDialogElement) {
  this.open = false;
};

afterEach(cleanup);
