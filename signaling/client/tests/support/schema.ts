import { readdirSync, readFileSync } from "node:fs";

import { Ajv2020, type ValidateFunction } from "ajv/dist/2020.js";

import type { ServerEvents } from "../../src/contract.ts";

const CONTRACT = new URL("../../../contract/", import.meta.url);

export interface Fixture {
  name: string;
  payload: unknown;
}

export interface Fixtures {
  valid: Fixture[];
  invalid: Fixture[];
}

export interface Schema {
  $defs: Record<
    string,
    {
      enum?: string[];
      properties?: Record<string, { enum?: string[] }>;
      required?: string[];
      oneOf?: { properties: Record<string, unknown>; required: string[] }[];
    }
  >;
}

export const schema = read("schema.json") as Schema;

const ajv = new Ajv2020({ strict: false, allErrors: true });
ajv.addSchema(schema, "contract");

export function fixtures(folder: string): (Fixtures & { event: string })[] {
  return readdirSync(new URL(`fixtures/${folder}/`, CONTRACT)).map((file) => ({
    event: file.replace(/\.json$/, ""),
    ...(read(`fixtures/${folder}/${file}`) as Fixtures),
  }));
}

export function connects(): Fixtures {
  return read("fixtures/connect.json") as Fixtures;
}

/** The first valid fixture of a server event, or the one of that name. */
export function fixture<E extends keyof ServerEvents>(event: E, name?: string): ServerEvents[E] {
  const { valid } = read(`fixtures/server/${event}.json`) as Fixtures;
  const found = valid.find((candidate) => name === undefined || candidate.name === name);
  if (found === undefined) throw new Error(`no fixture ${event}: ${name ?? "any"}`);
  return found.payload as ServerEvents[E];
}

export function validator(table: string, event: string): ValidateFunction {
  const within = event === "" ? "" : `/properties/${event}`;
  const validate = ajv.getSchema(`contract#/$defs/${table}${within}`);
  if (validate === undefined) throw new Error(`no ${table} ${event} in the contract`);
  return validate;
}

/** Throws when a payload is not as the contract says. */
export function mustMatch(table: string, event: string, payload: unknown): void {
  const validate = validator(table, event);
  if (validate(payload)) return;
  const reasons = JSON.stringify(validate.errors, undefined, 1);
  throw new Error(`${table} ${event}: ${JSON.stringify(payload)}: ${reasons}`);
}

function read(path: string): unknown {
  return JSON.parse(readFileSync(new URL(path, CONTRACT), "utf8"));
}
