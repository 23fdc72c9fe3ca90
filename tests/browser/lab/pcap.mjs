// Reads what tcpdump wrote: bytes at the IP layer of UDP datagrams and TCP segments, by their two ends.

const MAGIC = 0xa1b2c3d4;
const LINK = { ethernet: 1 };
const TRANSPORTS = { 6: "tcp", 17: "udp" };

/**
 * Yields `{ transport, from, to, bytes }` for each IPv4 packet; `from` and `to` are `address:port`. TCP options are left
 * out, as they are in the relay's books.
 */
export function* packets(file) {
  const view = new DataView(file.buffer, file.byteOffset, file.byteLength);
  const little = view.getUint32(0, true) === MAGIC;
  if (!little && view.getUint32(0, false) !== MAGIC) throw new Error("no pcap file");
  if (view.getUint32(20, little) !== LINK.ethernet) throw new Error("no Ethernet capture");
  for (let at = 24; at + 16 <= view.byteLength; ) {
    const captured = view.getUint32(at + 8, little);
    const packet = at + 16;
    at = packet + captured;
    if (captured < 42 || view.getUint16(packet + 12) !== 0x0800) continue;
    const ip = packet + 14;
    const ports = ip + (view.getUint8(ip) & 15) * 4;
    const isFragment = (view.getUint16(ip + 6) & 0x1fff) !== 0;
    const transport = TRANSPORTS[view.getUint8(ip + 9)];
    if (transport === undefined || isFragment) continue;
    const options = transport === "tcp" ? (view.getUint8(ports + 12) >> 4) * 4 - 20 : 0;
    const address = (offset) => [0, 1, 2, 3].map((n) => view.getUint8(ip + offset + n)).join(".");
    yield {
      transport,
      from: `${address(12)}:${view.getUint16(ports)}`,
      to: `${address(16)}:${view.getUint16(ports + 2)}`,
      bytes: view.getUint16(ip + 2) - options,
    };
  }
}

/** The four counters of an allocation as the capture has them. */
export function legs(file, { transport: ofClient, client, listener, relayed }) {
  const sums = { client_in: 0, client_out: 0, peer_in: 0, peer_out: 0 };
  for (const { transport, from, to, bytes } of packets(file)) {
    if (transport === ofClient && from === client && to === listener) sums.client_in += bytes;
    else if (transport === ofClient && from === listener && to === client) sums.client_out += bytes;
    else if (transport === "udp" && to === relayed) sums.peer_in += bytes;
    else if (transport === "udp" && from === relayed) sums.peer_out += bytes;
  }
  return sums;
}
