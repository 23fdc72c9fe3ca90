// Two connections of one page call each other through the relay alone: run in a browser, as the text of a function.

/** Resolves with the frames decoded by both in `seconds`, and with the selected candidates of the caller. */
export async function pageCall({ iceServers, seconds }) {
  const settings = { iceServers, iceTransportPolicy: "relay" };
  const [caller, callee] = [new RTCPeerConnection(settings), new RTCPeerConnection(settings)];
  const candidates = [];
  for (const [one, other] of [[caller, callee], [callee, caller]]) {
    const waiting = [];
    one.onicecandidate = ({ candidate }) => {
      if (candidate === null || candidate.candidate === "") return;
      candidates.push(candidate.candidate);
      if (other.remoteDescription) other.addIceCandidate(candidate);
      else waiting.push(candidate);
    };
    other.onsignalingstatechange = () => {
      if (other.remoteDescription) for (const candidate of waiting.splice(0)) other.addIceCandidate(candidate);
    };
  }
  const stream = await navigator.mediaDevices.getUserMedia({ audio: true, video: true });
  for (const one of [caller, callee]) stream.getTracks().forEach((track) => one.addTrack(track, stream));
  for (const one of [caller, callee]) {
    one.ontrack = ({ track, streams }) => {
      if (track.kind !== "video") return;
      const video = document.createElement("video");
      Object.assign(video, { autoplay: true, muted: true, srcObject: streams[0] });
      document.body.append(video);
    };
  }
  await caller.setLocalDescription();
  await callee.setRemoteDescription(caller.localDescription);
  await callee.setLocalDescription();
  await caller.setRemoteDescription(callee.localDescription);
  const deadline = performance.now() + 25_000;
  while ([caller, callee].some((one) => one.iceConnectionState !== "connected" && one.iceConnectionState !== "completed")) {
    if (performance.now() > deadline) throw new Error(`no call: ${caller.iceConnectionState}, candidates ${JSON.stringify(candidates)}`);
    await new Promise((done) => setTimeout(done, 50));
  }
  const frames = async (one) => {
    const video = [...(await one.getStats()).values()].find((entry) => entry.type === "inbound-rtp" && entry.kind === "video");
    return video?.framesDecoded ?? 0;
  };
  const before = [await frames(caller), await frames(callee)];
  await new Promise((done) => setTimeout(done, seconds * 1000));
  const after = [await frames(caller), await frames(callee)];
  const report = await caller.getStats();
  const pair = [...report.values()].find((entry) => entry.type === "candidate-pair" && entry.state === "succeeded" && entry.nominated);
  const [local, remote] = [report.get(pair.localCandidateId), report.get(pair.remoteCandidateId)];
  for (const one of [caller, callee]) one.close();
  stream.getTracks().forEach((track) => track.stop());
  return {
    frames: after.map((count, n) => count - before[n]),
    local: local.candidateType,
    remote: remote.candidateType,
    relayProtocol: local.relayProtocol,
    candidates,
  };
}
