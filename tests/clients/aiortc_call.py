"""Two aiortc peers of one process call each other through the relay alone.

Reads `{"iceServers": [...], "seconds": N}` from standard input and prints what came of it as one JSON object.
The environment's SSL_CERT_FILE says whom to trust over TLS.
"""

import asyncio
import json
import sys
import time

from aiortc import (
    RTCConfiguration,
    RTCIceServer,
    RTCIceTransportPolicy,
    RTCPeerConnection,
)
from aiortc.mediastreams import AudioStreamTrack

PING_EVERY = 0.05


def peer(servers):
    return RTCPeerConnection(
        RTCConfiguration(
            iceServers=[RTCIceServer(**server) for server in servers],
            iceTransportPolicy=RTCIceTransportPolicy.RELAY,
        )
    )


async def count_frames(track, result):
    while True:
        await track.recv()
        result["frames"] += 1


async def call(servers, seconds):
    caller, callee = peer(servers), peer(servers)
    result = {"sent": 0, "echoed": 0, "frames": 0, "longest_silence": 0.0}
    connected = asyncio.Event()
    tasks = []
    heard = time.monotonic()

    channel = caller.createDataChannel("echo", ordered=True)
    caller.addTrack(AudioStreamTrack())

    @callee.on("datachannel")
    def _(channel):
        channel.on("message", channel.send)

    @callee.on("track")
    def _(track):
        tasks.append(asyncio.create_task(count_frames(track, result)))

    @channel.on("open")
    def _():
        connected.set()

    @channel.on("message")
    def _(message):
        nonlocal heard
        now = time.monotonic()
        result["longest_silence"] = max(result["longest_silence"], now - heard)
        heard = now
        assert message == f"ping {result['echoed']}", message
        result["echoed"] += 1

    await caller.setLocalDescription(await caller.createOffer())
    await callee.setRemoteDescription(caller.localDescription)
    await callee.setLocalDescription(await callee.createAnswer())
    await caller.setRemoteDescription(callee.localDescription)
    candidates = [line for line in caller.localDescription.sdp.splitlines() if line.startswith("a=candidate")]
    assert candidates and all(" typ relay" in line for line in candidates), candidates

    await asyncio.wait_for(connected.wait(), 20)
    heard = time.monotonic()
    end = heard + seconds
    while time.monotonic() < end:
        channel.send(f"ping {result['sent']}")
        result["sent"] += 1
        await asyncio.sleep(PING_EVERY)
    for _ in range(100):
        if result["echoed"] == result["sent"]:
            break
        await asyncio.sleep(PING_EVERY)
    await asyncio.gather(caller.close(), callee.close())
    for task in tasks:
        task.cancel()
    return result


def main():
    asked = json.load(sys.stdin)
    print(json.dumps(asyncio.run(call(asked["iceServers"], asked["seconds"]))))


main()
