import { beforeEach, expect, it, onTestFinished, vi } from "vitest";

import { openCamera } from "../src/media.ts";
import { fakeStream, useFakeRtc } from "./support/fake-rtc.ts";

const getUserMedia = vi.fn<(constraints: MediaStreamConstraints) => Promise<MediaStream>>();

beforeEach(() => {
  useFakeRtc();
  getUserMedia.mockReset();
  vi.stubGlobal("isSecureContext", true);
  vi.stubGlobal("navigator", { mediaDevices: { getUserMedia } });
  onTestFinished(() => {
    vi.unstubAllGlobals();
  });
});

it("opens camera and microphone", async () => {
  const stream = fakeStream();
  getUserMedia.mockResolvedValue(stream);
  expect(await openCamera()).toBe(stream);
  expect(getUserMedia.mock.calls[0]?.[0]).toHaveProperty("audio");
});

it("does with a camera where there is no microphone", async () => {
  const stream = fakeStream();
  getUserMedia.mockRejectedValueOnce(new DOMException("", "NotFoundError"));
  getUserMedia.mockResolvedValueOnce(stream);
  expect(await openCamera()).toBe(stream);
  expect(getUserMedia.mock.calls[1]?.[0]).not.toHaveProperty("audio");
});

it.each([
  ["NotFoundError", "no_camera"],
  ["NotAllowedError", "camera_denied"],
  ["NotReadableError", "camera_busy"],
])("says why on %s: %s", async (name, problem) => {
  getUserMedia.mockRejectedValue(new DOMException("", name));
  await expect(openCamera()).rejects.toMatchObject({ problem });
});

it("says that plain HTTP is the reason where it is", async () => {
  vi.stubGlobal("isSecureContext", false);
  vi.stubGlobal("navigator", {});
  await expect(openCamera()).rejects.toMatchObject({ problem: "insecure_context" });
});

it("says when the browser cannot do it at all", async () => {
  vi.stubGlobal("RTCPeerConnection", undefined);
  vi.stubGlobal("navigator", {});
  await expect(openCamera()).rejects.toMatchObject({ problem: "unsupported" });
});
