"""Two strangers on python-socketio go through the whole contract of a server; each step is printed as it is done."""

import asyncio
import sys

import socketio

SOON = 20
URL = sys.argv[1]
SDP = "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\na=ice-ufrag:x\r\na=fingerprint:sha-256 AA\r\n"
JOIN = {"mode": "video", "interests": ["Python"], "privacy": "all"}


class Stranger:
    """A client, and the events that have come to it, numbered without a gap."""

    async def connect(self, resume=None):
        self.client = socketio.AsyncClient(reconnection=False)
        self.events = asyncio.Queue()
        self.seq = resume["lastSeq"] if resume else 0
        self.client.on("*", self.take)
        auth = {"v": 1} | ({"resume": resume} if resume else {})
        await self.client.connect(URL, auth=auth, transports=["websocket"])

    async def take(self, name, payload):
        self.seq += name != "session.resumed"
        assert payload["seq"] == self.seq, (name, payload, self.seq)
        await self.events.put((name, payload))

    async def event(self, name):
        """The next event of this name; others are passed over."""
        while True:
            came, payload = await asyncio.wait_for(self.events.get(), SOON)
            if came == name:
                return payload

    async def ask(self, name, payload):
        answer = await self.client.call(name, payload, timeout=SOON)
        assert answer["ok"], (name, answer)
        return answer


def done(step):
    print(step, flush=True)


async def main():
    a, b = Stranger(), Stranger()
    for one in (a, b):
        await one.connect()
    hello = await a.event("hello")
    await b.event("hello")
    assert [list(server) for server in hello["ice"]["iceServers"]] == [["urls"]], "STUN only"
    done("hello")

    await a.ask("queue.join", JOIN)
    assert (await a.event("queue.state"))["state"] == "waiting"
    assert (await a.ask("queue.leave", {}))["result"] == "left"
    await a.ask("queue.join", JOIN)
    await b.ask("queue.join", JOIN)
    to_a, to_b = await a.event("match.found"), await b.event("match.found")
    pair = to_a["pair"]
    assert (to_a["role"], to_b["role"], to_b["polite"]) == ("initiator", "responder", True)
    assert to_a["common"] == ["python"] and to_b["pair"] == pair
    assert "credential" in to_a["ice"]["iceServers"][1], "TURN for a pair"
    done("match.found")

    for one in (a, b):
        await one.ask("match.accept", {"pair": pair})
    for one in (a, b):
        assert (await one.event("match.start"))["pair"] == pair
    done("match.start")

    def signal(seq, **body):
        return {"pair": pair, "seq": seq, "gen": 0, **body}

    refused = await b.client.call("signal", signal(1, description={"type": "offer", "sdp": SDP}))
    assert refused == {"ok": False, "code": "not_initiator"}, refused
    await a.ask("signal", signal(1, description={"type": "offer", "sdp": SDP}))
    assert (await b.event("signal"))["description"]["type"] == "offer"
    await b.ask("signal", signal(2, description={"type": "answer", "sdp": SDP}))
    assert (await a.event("signal"))["description"]["type"] == "answer"
    for number in range(10):
        text = f"candidate:{number} 1 udp 1 198.18.0.2 {1000 + number} typ host"
        await a.client.emit("signal", signal(2 + number, candidates=[{"candidate": text}]))
    for number in range(10):
        candidate = (await b.event("signal"))["candidates"][0]["candidate"]
        assert candidate.startswith(f"candidate:{number} "), candidate
    await a.ask("signal", signal(12, end=True))
    assert (await b.event("signal"))["end"] is True
    done("signal")

    await a.ask("chat.typing", {"pair": pair, "on": True})
    assert (await b.event("chat.typing"))["on"] is True
    await a.ask("chat.send", {"pair": pair, "id": "one", "text": "good \u202eday"})
    assert (await b.event("chat.message"))["text"] == "good day"
    done("chat")

    stats = {"pair": pair, "state": "connected", "local": "host", "remote": "srflx", "ttfmMs": 420, "rttMs": 12}
    await a.ask("pair.stats", stats)
    assert "credential" in (await a.ask("ice.refresh", {"pair": pair}))["ice"]["iceServers"][1]
    done("ice.refresh")

    lost = {"id": hello["resume"], "lastSeq": a.seq}
    await a.client.eio.ws.close()
    assert (await b.event("peer.state"))["state"] == "reconnecting"
    await b.ask("chat.send", {"pair": pair, "id": "two", "text": "still there?"})
    await a.connect(lost)
    resumed = await a.event("session.resumed")
    assert (resumed["pair"], resumed["lastClientSeq"]) == (pair, 12), resumed
    assert (await a.event("chat.message"))["text"] == "still there?"
    assert (await b.event("peer.state"))["state"] == "back"
    done("session.resumed")

    await a.ask("match.next", {"pair": pair, "join": JOIN})
    assert (await a.event("match.ended"))["reason"] == "next"
    assert (await b.event("match.ended"))["reason"] == "next"
    for one in (a, b):
        await one.ask("bye", {})
        await one.client.disconnect()
    done("bye")


asyncio.run(main())
