import type { Ice, Problem } from "./contract.ts";

/** The server refused an ICE configuration, with its reason. */
export class IceRefused extends Error {
  override readonly name = "IceRefused";
  readonly problem: Problem;

  constructor(problem: Problem) {
    super(problem.detail);
    this.problem = problem;
  }
}

/**
 * The ICE configuration of `GET /v1/ice`, for pages that do their own signaling.
 *
 * `url` is the server's origin; without a token only STUN is given, unless the server mints for anyone.
 * Rejects with `IceRefused` when the server says no, and with another error when no Turnpike server answers.
 */
export async function fetchIce(url: string, token?: string): Promise<Ice> {
  const response = await fetch(new URL("/v1/ice", url), {
    headers: token === undefined ? {} : { authorization: `Bearer ${token}` },
    cache: "no-store",
  });
  const body: unknown = await response.json();
  if (!response.ok) throw new IceRefused(body as Problem);
  return body as Ice;
}
