import { createServer, type IncomingMessage } from "node:http";
import type { AddressInfo } from "node:net";

import { expect, it, onTestFinished } from "vitest";

import { fetchIce, IceRefused } from "../src/ice.ts";
import { fixtures, mustMatch } from "./support/schema.ts";

const rest = (name: string) =>
  fixtures("rest").find(({ event }) => event === name)!.valid[0]!.payload;

async function serve(status: number, body: unknown): Promise<[string, IncomingMessage[]]> {
  const requests: IncomingMessage[] = [];
  const server = createServer((request, response) => {
    requests.push(request);
    response.writeHead(status, { "content-type": "application/json" });
    response.end(JSON.stringify(body));
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  onTestFinished(() => {
    server.close();
    server.closeAllConnections();
  });
  return [`http://127.0.0.1:${(server.address() as AddressInfo).port}`, requests];
}

it("fetches a configuration with the token", async () => {
  const [url, requests] = await serve(200, rest("ice"));
  const ice = await fetchIce(`${url}/some/page`, "tokenCCCCCCCCCCCCCCCC0");
  mustMatch("Rest", "ice", ice);
  expect(requests[0]).toMatchObject({
    url: "/v1/ice",
    headers: { authorization: "Bearer tokenCCCCCCCCCCCCCCCC0" },
  });
});

it("fetches one without a token", async () => {
  const [url, requests] = await serve(200, rest("ice"));
  await fetchIce(url);
  expect(requests[0]?.headers).not.toHaveProperty("authorization");
});

it("hands the server's reason on", async () => {
  const problem = rest("problem");
  const [url] = await serve(429, problem);
  const refusal = await fetchIce(url).catch((error: unknown) => error);
  expect(refusal).toBeInstanceOf(IceRefused);
  expect(refusal).toMatchObject({ problem, message: (problem as { detail: string }).detail });
});
