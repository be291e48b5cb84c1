/**
 * Whole objects of the origin, kept in the data centre's cache under a key without a token, so that all listeners share them.
 *
 * Owns: cache keys and tags, the fetch from the origin, and flights: of those who miss one object at once in one isolate, one
 * fetches it. Must not know: who may ask. Only answers with 200 are kept; every other answer goes to those who waited for it,
 * but for a 503 that came at once: it may be about the one who asked, so one of those who waited asks once more, for all.
 *
 *     in the cache                              hit
 *     not there, a flight is under way          joined
 *     not there, one landed LANDED_KEPT_MS ago  joined, for the look began before its answer was in the cache
 *     else                                      a flight
 */

import { BoundedMap } from "./bounded.ts";
import { UNAVAILABLE, respond } from "./problems.ts";
import type { MediaPath } from "./paths.ts";

const ORIGIN_TIMEOUT_MS = 20_000;
const FORBIDDEN = 403;
const NOT_NOW = 503;
/** Who has waited longer for a 503 has waited for the segment: nobody waits for it twice. */
const AT_ONCE_MS = 1_000;
/** Should a flight not come in time, as its request was ended, one of those who wait flies anew and the others join that. */
const FLIGHT_TIMEOUT_MS = 8_000;
/** Longer than a look into the cache takes, and than an answer takes to get there. */
const LANDED_KEPT_MS = 2_000;
const LANDED_MAX = 500;
/** Forty segments of the highest rung. */
const LANDED_BYTES_MAX = 8 * 1024 * 1024;
const KEPT_HEADERS = ["Content-Type", "Cache-Control", "ETag"] as const;
const PASSED_HEADERS = ["Content-Type", "Cache-Control", "Retry-After", "WWW-Authenticate"] as const;

type Method = "GET" | "HEAD";

/**
 * Bytes and what is said of them. Never a stream: those belong to the request that opened them. `size`: of the whole body, which
 * is not there in an answer to HEAD; null where that does not say it.
 */
export interface Stored {
  readonly status: number;
  readonly body: ArrayBuffer;
  readonly size: number | null;
  readonly headers: readonly (readonly [string, string])[];
}

/** How an object was come by, as RFC 9211 says it. */
export interface Found {
  readonly stored: Stored;
  readonly cacheStatus: string;
}

interface Landed {
  readonly stored: Stored;
  readonly atMs: number;
}

interface Come {
  readonly stored: Stored;
  readonly joined: boolean;
}

export interface Timings {
  add(name: string, ms: number): void;
}

export function scriptTag(scriptId: string): string {
  return `script-${scriptId}`;
}

export class Store {
  readonly #originUrl: string;
  readonly #flightTimeoutMs: number;
  readonly #flights = new Map<string, Promise<Stored>>();
  readonly #landed = new BoundedMap<string, Landed>(
    LANDED_MAX,
    LANDED_BYTES_MAX,
    ({ stored }) => stored.body.byteLength,
  );

  constructor(originUrl: string, flightTimeoutMs = FLIGHT_TIMEOUT_MS) {
    this.#originUrl = originUrl;
    this.#flightTimeoutMs = flightTimeoutMs;
  }

  /**
   * The object at `path` below the asked media version. `host`: of the zone, whose cache holds the key. The origin makes nothing
   * for a HEAD, so that is asked by itself, and nothing of it is kept.
   */
  async find(
    method: Method,
    asked: MediaPath,
    path: string,
    host: string,
    context: ExecutionContext,
    timings: Timings,
  ): Promise<Found> {
    const key = keyOf(host, path);
    const began = Date.now();
    const hit = await caches.default.match(key);
    timings.add("cache", Date.now() - began);
    if (hit !== undefined) {
      return { stored: await take(hit, KEPT_HEADERS), cacheStatus: "hit" };
    }
    const fetched = Date.now();
    const { stored, joined } =
      method === "HEAD"
        ? { stored: await this.#ask(method, asked, path), joined: false }
        : await this.#come(asked, path, key, context);
    timings.add("origin", Date.now() - fetched);
    const kept = stored.status === 200 && method === "GET";
    const outcome = joined ? "; collapsed" : kept ? "; stored" : "";
    return { stored, cacheStatus: `fwd=uri-miss; fwd-status=${stored.status}${outcome}` };
  }

  /**
   * Keeps the object at `wanted` unless it is kept, or somebody fetches it, for who will ask for it. It is a flight as all others:
   * who asks meanwhile joins it, and whatever it brings but 200 is dropped. Rejects where the cache fails.
   */
  async ahead(wanted: MediaPath, host: string, context: ExecutionContext): Promise<void> {
    const key = keyOf(host, wanted.path);
    const hit = await caches.default.match(key);
    // unread, it would hold one of the few connections of a request
    await hit?.body?.cancel();
    const isThere = hit !== undefined || this.#flights.has(key) || this.#justLanded(key) !== null;
    if (!isThere) await this.#fly(wanted, wanted.path, key, context);
  }

  /** What a flight that is under way brings, or has just brought, or one of our own. A refusal is about the token of the one who flew. */
  async #come(asked: MediaPath, path: string, key: string, context: ExecutionContext): Promise<Come> {
    const began = Date.now();
    let passed: Promise<Stored> | undefined;
    let again = false;
    for (;;) {
      const flight = this.#flights.get(key);
      if (flight === undefined || flight === passed) {
        const landed = this.#justLanded(key);
        if (landed !== null) return { stored: landed, joined: true };
        return { stored: await this.#fly(asked, path, key, context), joined: false };
      }
      const stored = await inTime(flight, this.#flightTimeoutMs);
      const notNow: boolean = stored?.status === NOT_NOW && !again && Date.now() - began < AT_ONCE_MS;
      if (stored !== null && stored.status !== FORBIDDEN && !notNow) return { stored, joined: true };
      again ||= notNow;
      passed = flight;
    }
  }

  #justLanded(key: string): Stored | null {
    const landed = this.#landed.get(key);
    return landed !== undefined && Date.now() - landed.atMs < LANDED_KEPT_MS ? landed.stored : null;
  }

  async #fly(asked: MediaPath, path: string, key: string, context: ExecutionContext): Promise<Stored> {
    const flight = this.#fetch(asked, path, key, context);
    this.#flights.set(key, flight);
    // goes on when the client goes, for those who wait
    context.waitUntil(flight);
    try {
      return await flight;
    } finally {
      if (this.#flights.get(key) === flight) this.#flights.delete(key);
    }
  }

  async #fetch(asked: MediaPath, path: string, key: string, context: ExecutionContext): Promise<Stored> {
    const stored = await this.#ask("GET", asked, path);
    if (stored.status === 200) {
      this.#landed.set(key, { stored, atMs: Date.now() });
      const headers = new Headers(stored.headers.map(([name, value]) => [name, value]));
      headers.set("Cache-Tag", scriptTag(asked.scriptId));
      context.waitUntil(caches.default.put(key, new Response(stored.body, { headers })));
    }
    return stored;
  }

  /** What the origin says: media, or a refusal. Our own where it does not answer, or somebody else does in its place. */
  async #ask(method: Method, asked: MediaPath, path: string): Promise<Stored> {
    let stored: Stored;
    try {
      const answer = await fetch(`${this.#originUrl}/p/${asked.token}${path}`, {
        method,
        headers: { "Accept-Encoding": "identity" },
        redirect: "manual",
        signal: AbortSignal.timeout(ORIGIN_TIMEOUT_MS),
      });
      stored = await take(answer, answer.status === 200 ? KEPT_HEADERS : PASSED_HEADERS);
    } catch (error) {
      console.error("The origin did not answer.", String(error));
      return take(respond(UNAVAILABLE), PASSED_HEADERS);
    }
    if (stored.status === 200 ? isMedia(method, stored, path) : stored.status >= 400) return stored;
    // somebody between here and the origin: kept, it would be everybody's for a year
    console.error(`An answer with ${stored.status} is not the origin's.`);
    return take(respond(UNAVAILABLE), PASSED_HEADERS);
  }
}

function keyOf(host: string, path: string): string {
  return `https://${host}${path}`;
}

/** Whether an answer with 200 is what the origin says of a path: of its type, not empty, with its lifetime and its entity tag. */
function isMedia(method: Method, stored: Stored, path: string): boolean {
  const [type, lifetime, etag] = KEPT_HEADERS.map((name) => stored.headers.find(([other]) => other === name)?.[1] ?? "");
  const expected = path.endsWith(".json") ? "application/json" : "audio/mp4";
  const empty = method === "GET" ? stored.body.byteLength === 0 : stored.size === 0;
  return !empty && type?.split(";")[0]?.trim() === expected && /\bpublic\b/.test(lifetime ?? "") && etag !== "";
}

async function take(answer: Response, names: readonly string[]): Promise<Stored> {
  const headers = names.flatMap((name) => {
    const value = answer.headers.get(name);
    return value === null ? [] : [[name, value] as const];
  });
  const body = await answer.arrayBuffer();
  return { status: answer.status, body, size: body.byteLength || sizeOf(answer), headers };
}

function sizeOf(answer: Response): number | null {
  const said = answer.headers.get("Content-Length");
  return said === null ? null : Number(said);
}

/** What `flight` brings, or null when it does not in time. */
export async function inTime<Brought>(flight: Promise<Brought>, timeoutMs: number): Promise<Brought | null> {
  let timer: number | null = null;
  const late = new Promise<null>((resolve) => {
    timer = setTimeout(() => resolve(null), timeoutMs);
  });
  try {
    return await Promise.race([flight, late]);
  } catch {
    return null;
  } finally {
    clearTimeout(timer);
  }
}
