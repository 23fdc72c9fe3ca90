// Two libdatachannel peers of one process call each other through the relay alone.
//
// Reads `{ iceServers, seconds }` from standard input and prints what came of it as one JSON object.

import { text } from "node:stream/consumers";
import { setTimeout as pause } from "node:timers/promises";

import datachannel from "node-datachannel";

const PING_EVERY_MS = 50;

const { iceServers, seconds } = JSON.parse(await text(process.stdin));
const servers = iceServers.filter(({ credential }) => credential).flatMap(({ urls, username, credential }) =>
  urls.map((url) => {
    const [, hostname, port] = /^turn:([\d.]+):(\d+)/.exec(url);
    return { hostname, port: Number(port), username, password: credential, relayType: "TurnUdp" };
  }),
);
const settings = { iceServers: servers, iceTransportPolicy: "relay" };
const [caller, callee] = ["caller", "callee"].map((name) => new datachannel.PeerConnection(name, settings));
const result = { sent: 0, echoed: 0, candidates: [] };

for (const [one, other] of [[caller, callee], [callee, caller]]) {
  one.onLocalDescription((sdp, type) => other.setRemoteDescription(sdp, type));
  one.onLocalCandidate((candidate, mid) => {
    result.candidates.push(candidate);
    other.addRemoteCandidate(candidate, mid);
  });
}
callee.onDataChannel((channel) => channel.onMessage((message) => channel.sendMessage(message)));
const channel = caller.createDataChannel("echo");
channel.onMessage((message) => {
  if (message !== `ping ${result.echoed}`) throw new Error(`out of order: ${message}`);
  result.echoed += 1;
});
await new Promise((opened, failed) => {
  channel.onOpen(opened);
  setTimeout(() => failed(new Error("not connected within 20 s")), 20_000).unref();
});
for (const end = Date.now() + seconds * 1000; Date.now() < end; await pause(PING_EVERY_MS)) {
  channel.sendMessage(`ping ${result.sent}`);
  result.sent += 1;
}
for (let wait = 0; wait < 100 && result.echoed < result.sent; wait += 1) await pause(PING_EVERY_MS);
const { local, remote } = caller.getSelectedCandidatePair();
console.log(JSON.stringify({ ...result, local: local.type, remote: remote.type }));
caller.close();
callee.close();
datachannel.cleanup();
