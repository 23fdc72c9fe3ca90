/** Why there is no camera. */
export type MediaProblem =
  "insecure_context" | "unsupported" | "camera_denied" | "no_camera" | "camera_busy";

/** The camera could not be opened. */
export class MediaUnavailable extends Error {
  override readonly name = "MediaUnavailable";
  readonly problem: MediaProblem;

  constructor(problem: MediaProblem, options?: ErrorOptions) {
    super(problem, options);
    this.problem = problem;
  }
}

const VIDEO: MediaTrackConstraints = {
  facingMode: "user",
  width: { ideal: 1280 },
  height: { ideal: 720 },
  frameRate: { ideal: 30 },
};
const AUDIO: MediaTrackConstraints = {
  echoCancellation: true,
  noiseSuppression: true,
  autoGainControl: true,
};

/**
 * Opens camera and microphone; a camera alone will do.
 *
 * Rejects with `MediaUnavailable`.
 */
export async function openCamera(): Promise<MediaStream> {
  if (!globalThis.isSecureContext) throw new MediaUnavailable("insecure_context");
  if (!("mediaDevices" in navigator && "RTCPeerConnection" in globalThis)) {
    throw new MediaUnavailable("unsupported");
  }
  const { mediaDevices } = navigator;
  try {
    return await mediaDevices.getUserMedia({ video: VIDEO, audio: AUDIO });
  } catch (error) {
    if (!isNamed(error, "NotFoundError")) throw explained(error);
  }
  try {
    return await mediaDevices.getUserMedia({ video: VIDEO });
  } catch (error) {
    throw explained(error);
  }
}

function explained(error: unknown): MediaUnavailable {
  const problem = isNamed(error, "NotFoundError", "OverconstrainedError")
    ? "no_camera"
    : isNamed(error, "NotAllowedError", "SecurityError")
      ? "camera_denied"
      : "camera_busy";
  return new MediaUnavailable(problem, { cause: error });
}

function isNamed(error: unknown, ...names: string[]): boolean {
  return error instanceof DOMException && names.includes(error.name);
}
