import { act, render, screen } from "@testing-library/react";
import userEvent from "@testing-library/user-event";
import { StrictMode } from "react";
import type { Failure, News, Phase, Snapshot } from "turnpike-client";
import { describe, expect, it } from "vitest";

import { App } from "../src/App.tsx";
import { FakeSession, fakeStream } from "./fake-session.ts";
import { settings } from "./setup.ts";

function open(shown: Partial<Snapshot> = {}) {
  const session = new FakeSession(shown);
  const page = render(
    <StrictMode>
      <App stranger={session} />
    </StrictMode>,
  );
  return { session, page, user: userEvent.setup() };
}

const status = () => screen.getByTestId("status");
const button = (name: string) => screen.getByRole("button", { name });
const IN_CALL = { phase: "connected", live: true, pair: "pairAAAAAAAAAAAAAAAAA_" } as const;

describe("the status", () => {
  const WHAT_TO_DO: Record<Failure, RegExp> = {
    insecure_context: /plain HTTP.*https:\/\//,
    unsupported: /cannot make video calls.*Firefox/,
    camera_denied: /blocked.*Allow camera and microphone/,
    no_camera: /No camera.*Connect one/,
    camera_busy: /could not be opened.*Close that/,
    camera_lost: /went away.*Connect it again/,
    server_unreachable: /cannot be reached.*We keep trying/,
    page_outdated: /older than the server.*Reload/,
    banned: /cannot take part.*another day/,
  };

  it.each(Object.entries(WHAT_TO_DO))("says what happened and what to do: %s", (failure, text) => {
    open({ phase: "error", failure: failure as Failure });
    expect(status().textContent).toMatch(text);
    expect(status().dataset.state).toBe("error");
  });

  const TOLD: [Phase, News, RegExp][] = [
    ["waiting", "partner_next", /moved on.*Looking for someone new/],
    ["waiting", "partner_left", /left.*Looking for someone new/],
    ["waiting", "partner_banned", /removed after reports.*Looking/],
    ["waiting", "quota_spent", /allowance is used up.*directly/],
    ["waiting", "ended_by_operator", /operator ended.*Looking/],
    ["waiting", "report_sent", /report was sent.*Looking/],
    ["waiting", "partner_lost", /lost.*Looking for someone new/],
    ["ended", "call_failed", /could not connect.*Press Next/],
    ["ended", "relay_unavailable", /relay is not available.*Press Next/],
    ["reconnecting", "draining", /about to restart.*connected again/],
  ];

  it.each(TOLD)("tells the news: %s, %s", (phase, news, text) => {
    open({ phase, news, live: true });
    expect(status().textContent).toMatch(text);
    expect(status().dataset.state).toBe(phase);
  });

  it("says whose way to the server is lost while a call goes on", () => {
    const { session } = open({ ...IN_CALL, partnerAway: true });
    expect(status().textContent).toMatch(/Your partner lost.*goes on/);
    expect(status().dataset).toMatchObject({ state: "connected", peer: "reconnecting" });
    act(() => {
      session.show({ serverAway: true });
    });
    expect(status().textContent).toMatch(/connection to the server was lost.*Your call goes on/);
    expect(status().dataset).toMatchObject({ state: "connected", server: "away" });
  });

  it("is announced, and names what both care for", () => {
    open({ ...IN_CALL, common: ["music", "film"] });
    expect(status()).toBe(screen.getByRole("status"));
    expect(status().ariaLive ?? status().getAttribute("aria-live")).toBe("polite");
    expect(status().textContent).toContain("music, film");
  });
});

describe("the controls", () => {
  it("start with the interests and the privacy that were chosen", async () => {
    const { session, user } = open();
    await user.type(screen.getByLabelText(/talk about/), "Music{Enter}music{Enter}film,");
    await user.click(button("Remove film"));
    await user.click(screen.getByRole("switch", { name: /Hide my address/ }));
    await user.click(button("Start"));
    const wishes = { mode: "video", interests: ["music"], privacy: "relay" };
    expect(session.update).toHaveBeenLastCalledWith(wishes);
    expect(session.start).toHaveBeenCalledExactlyOnceWith(expect.any(Function), wishes);
  });

  it("go on and stop while the session is live", async () => {
    const { session, user } = open(IN_CALL);
    await user.click(button("Next"));
    expect(session.next).toHaveBeenCalledOnce();
    session.stop.mockClear();
    await user.click(button("Stop"));
    expect(session.stop).toHaveBeenCalledOnce();
    expect(document.activeElement).toBe(button("Next"));
  });

  it("have nobody to leave while waiting", async () => {
    const { session, user } = open({ phase: "waiting", live: true });
    await user.click(button("Next"));
    await user.keyboard("n");
    expect(session.next).not.toHaveBeenCalled();
    expect(button("Next").getAttribute("aria-disabled")).toBe("true");
  });

  it("switch microphone and camera", async () => {
    const { session, user } = open({ ...IN_CALL, camera: false });
    await user.click(button("Turn microphone off"));
    await user.click(button("Turn camera on"));
    expect(session.setMicrophone).toHaveBeenCalledExactlyOnceWith(false);
    expect(session.setCamera).toHaveBeenCalledExactlyOnceWith(true);
  });

  it("have keys, which mean nothing while one types", async () => {
    const { session, user } = open();
    await user.keyboard(" ");
    expect(session.start).toHaveBeenCalledOnce();
    act(() => {
      session.show({ phase: "ended", live: true });
    });
    session.stop.mockClear();
    await user.keyboard("n");
    await user.type(screen.getByLabelText(/talk about/), "n {Escape}");
    expect([session.next, session.stop, session.start].map((f) => f.mock.calls.length)).toEqual([
      1, 0, 1,
    ]);
    await user.click(document.body);
    await user.keyboard("{Escape}");
    expect(session.stop).toHaveBeenCalledOnce();
  });
});

describe("a report", () => {
  it("asks what was wrong, and closes once it is sent", async () => {
    const { session, user } = open({ ...IN_CALL, reportable: true });
    await user.click(button("Report"));
    expect(screen.getByRole("dialog", { name: "What was wrong?" })).toBeTruthy();
    await user.click(button("Send report"));
    expect(session.report).not.toHaveBeenCalled();
    await user.click(screen.getByRole("radio", { name: /Harassment/ }));
    await user.type(screen.getByLabelText(/Anything to add/), "next, please");
    await user.click(button("Send report"));
    const report = { category: "harassment", note: "next, please", block: true };
    expect(session.report).toHaveBeenCalledExactlyOnceWith(report);
    expect(screen.queryByRole("dialog")).toBeNull();
    expect(session.next).not.toHaveBeenCalled();
  });

  it("says when it is too late, and can be taken back", async () => {
    const { session, user } = open({ phase: "waiting", live: true, reportable: true });
    session.report.mockResolvedValue(false);
    await user.click(button("Report the last one"));
    await user.click(screen.getByRole("radio", { name: /Advertising/ }));
    await user.click(screen.getByRole("switch", { name: /Never meet/ }));
    await user.click(button("Send report"));
    expect(session.report).toHaveBeenCalledWith({ category: "spam", note: "", block: false });
    expect(screen.getByRole("alert").textContent).toMatch(/more than a minute/);
    await user.click(button("Cancel"));
    expect(screen.queryByRole("dialog")).toBeNull();
  });

  it("is about somebody", () => {
    open({ phase: "waiting", live: true });
    expect(screen.queryByRole("button", { name: /Report/ })).toBeNull();
  });
});

describe("text alone", () => {
  it("is chosen before the start, and has neither camera nor microphone", async () => {
    const { session, user } = open();
    await user.click(screen.getByRole("radio", { name: "Text only" }));
    expect(session.update).toHaveBeenLastCalledWith(expect.objectContaining({ mode: "text" }));
    act(() => {
      session.show({ ...IN_CALL, mode: "text" });
    });
    expect(screen.getByRole("region", { name: "Text chat" })).toBeTruthy();
    expect(screen.queryByRole("button", { name: /camera|microphone/ })).toBeNull();
  });

  it.each(["camera_denied", "no_camera", "camera_busy", "insecure_context"] as const)(
    "is offered where the camera stands in the way: %s",
    async (failure) => {
      const { session, user } = open({ phase: "error", failure });
      await user.click(button("Chat by text instead"));
      expect(session.start).toHaveBeenCalledExactlyOnceWith(
        expect.any(Function),
        expect.objectContaining({ mode: "text" }),
      );
    },
  );

  it("helps nobody who is banned", () => {
    open({ phase: "error", failure: "banned" });
    expect(screen.queryByRole("button", { name: /by text/ })).toBeNull();
  });
});

describe("a call", () => {
  it("shows its path with an explanation", () => {
    const { session } = open(IN_CALL);
    expect(screen.getByTestId("path").dataset.path).toBe("unknown");
    act(() => {
      session.show({ path: "relayed" });
    });
    expect(screen.getByTestId("path").dataset.path).toBe("relayed");
    const explanation = button("Relayed").getAttribute("aria-describedby") ?? "";
    expect(document.getElementById(explanation)?.textContent).toMatch(
      /through this server’s relay/,
    );
  });

  it("names the partner and the time to the first frame on the root", () => {
    const { session, page } = open();
    const root = page.container.firstElementChild as HTMLElement;
    expect(root.dataset).not.toHaveProperty("ttffMs");
    act(() => {
      session.show({ ...IN_CALL, firstFrameMs: 812 });
    });
    expect(root.dataset).toMatchObject({ ttffMs: "812", partner: IN_CALL.pair });
  });

  it("sets a stream once, not at every change", () => {
    const localStream = fakeStream();
    const { session } = open({ phase: "waiting", live: true });
    act(() => {
      session.show({ localStream });
    });
    const remoteStream = fakeStream();
    act(() => {
      session.show({ ...IN_CALL, remoteStream });
    });
    act(() => {
      session.show({ path: "direct", microphone: false });
    });
    const local = screen.getByTestId<HTMLVideoElement>("local-video");
    const remote = screen.getByTestId<HTMLVideoElement>("remote-video");
    expect([local.srcObject, remote.srcObject]).toEqual([localStream, remoteStream]);
    expect([settings.get(local), settings.get(remote)]).toEqual([1, 1]);
    act(() => {
      session.show({ phase: "waiting", remoteStream: undefined });
    });
    expect(remote.srcObject).toBeNull();
  });

  it("reports the first frame of its stream", () => {
    let shown: VideoFrameRequestCallback | undefined;
    HTMLVideoElement.prototype.requestVideoFrameCallback = (callback) => {
      shown = callback;
      return 1;
    };
    HTMLVideoElement.prototype.cancelVideoFrameCallback = () => {
      shown = undefined;
    };
    const { session } = open();
    const remoteStream = fakeStream();
    act(() => {
      session.show({ ...IN_CALL, remoteStream });
    });
    shown?.(1234, {} as VideoFrameCallbackMetadata);
    expect(session.frameDecoded).toHaveBeenCalledExactlyOnceWith(remoteStream, 1234);
    act(() => {
      session.show({ remoteStream: undefined });
    });
    expect(shown).toBeUndefined();
  });
});

describe("the chat", () => {
  it("is there in a call alone, says who wrote what, and sends with Enter and the button", async () => {
    const { session, user } = open({ phase: "waiting", live: true });
    expect(screen.queryByRole("log")).toBeNull();
    act(() => {
      session.show({ ...IN_CALL, remoteStream: fakeStream() });
    });
    await user.type(screen.getByLabelText("Message"), "hello n{Enter}");
    expect(session.typing).toHaveBeenLastCalledWith(true);
    expect(session.say).toHaveBeenLastCalledWith("hello n");
    await user.type(screen.getByLabelText("Message"), "again");
    await user.click(button("Send"));
    await user.click(button("Send"));
    expect(session.say.mock.calls).toEqual([["hello n"], ["again"]]);
    expect(session.next).not.toHaveBeenCalled();
    act(() => {
      session.show({
        partnerTyping: true,
        lines: [
          { id: "1", from: "you", text: "hello", state: "failed" },
          { id: "1", from: "partner", text: "<b>hi</b>", state: "sent" },
        ],
      });
    });
    const lines = screen.getAllByRole("listitem").map((line) => line.textContent);
    expect(lines.slice(0, 2)).toEqual(["You: hello not sent", "Partner: <b>hi</b>"]);
    expect(screen.getByLabelText("Your partner is writing")).toBeTruthy();
  });
});

describe("mounting", () => {
  it("twice, as StrictMode does, leaves one listener, and each key acts once", async () => {
    const { session, user } = open();
    expect(session.listeners.size).toBe(1);
    await user.keyboard("{Enter}");
    expect(session.start).toHaveBeenCalledOnce();
  });

  it("ends with the session stopped and nothing left behind", async () => {
    const { session, page, user } = open();
    session.stop.mockClear();
    page.unmount();
    expect(session.stop).toHaveBeenCalledOnce();
    expect(session.listeners.size).toBe(0);
    await user.keyboard(" ");
    expect(session.start).not.toHaveBeenCalled();
  });

  it("ends the session when the page is left", () => {
    const { session } = open(IN_CALL);
    session.stop.mockClear();
    window.dispatchEvent(new Event("pagehide"));
    expect(session.stop).toHaveBeenCalledOnce();
  });
});
