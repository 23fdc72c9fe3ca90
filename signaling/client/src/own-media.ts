/** The user's own camera and microphone: open while a session is live, switched by the user. */
export class OwnMedia {
  readonly #lost: () => void;
  #stream: MediaStream | undefined;
  #microphone = true;
  #camera = true;

  /** `lost` is called when the camera goes away by itself. */
  constructor(lost: () => void) {
    this.#lost = lost;
  }

  get stream(): MediaStream | undefined {
    return this.#stream;
  }

  get microphone(): boolean {
    return this.#microphone;
  }

  set microphone(on: boolean) {
    this.#microphone = on;
    this.#applySwitches();
  }

  get camera(): boolean {
    return this.#camera;
  }

  set camera(on: boolean) {
    this.#camera = on;
    this.#applySwitches();
  }

  /** Takes the stream over: its tracks end with `close`. */
  take(stream: MediaStream): void {
    this.#stream = stream;
    this.#applySwitches();
    for (const track of stream.getVideoTracks()) track.onended = this.#lost;
  }

  close(): void {
    if (this.#stream !== undefined) stopTracks(this.#stream);
    this.#stream = undefined;
  }

  #applySwitches(): void {
    for (const track of this.#stream?.getAudioTracks() ?? []) track.enabled = this.#microphone;
    for (const track of this.#stream?.getVideoTracks() ?? []) track.enabled = this.#camera;
  }
}

export function stopTracks(stream: MediaStream): void {
  for (const track of stream.getTracks()) {
    track.onended = null;
    track.stop();
  }
}
