/**
 * Media: signed paths in, playlists and segments out, as from the origin.
 *
 * Init and media segments come from the cache or the origin; behind a segment that was answered the next one is fetched ahead.
 * Playlists are made here, from the script's facts, which the origin is asked for once; so a playlist costs it nothing, however
 * many listen.
 */

import { Ahead } from "./ahead.ts";
import { type Representation, answer } from "./answers.ts";
import { BoundedMap } from "./bounded.ts";
import { type MediaPath, parseMediaPath } from "./paths.ts";
import { type Facts, mediaPlaylist, multivariantPlaylist, parseFacts, segmentsOf } from "./playlists.ts";
import { NOT_FOUND, UNAVAILABLE, forbidden, respond } from "./problems.ts";
import { REVOKED, type Revocations } from "./revoked.ts";
import { type Store, type Stored, type Timings } from "./store.ts";
import type { TokenVerifier } from "./tokens.ts";

const PLAYLIST_TYPE = "application/vnd.apple.mpegurl";
const FORBIDDEN = 403;
const PLAYLISTS_MAX = 500;
/** An hour has 14 kB, a day 330 kB: an isolate has 128 MB for everything. */
const PLAYLISTS_BYTES_MAX = 16 * 1024 * 1024;
/** Playlists made here, for an isolate's own use: facts are looked up in the cache again after that. */
const PLAYLIST_KEPT_MS = 60_000;
const CACHE_NAME = "playhead-edge";

interface Made {
  readonly representation: Representation;
  readonly until: number;
}

interface Served {
  readonly response: Response;
  readonly cacheStatus: string | null;
}

/** Whether `token` in `rawPath` opens it: what it names, or the refusal. */
export async function admit(
  verifier: TokenVerifier,
  revocations: Revocations,
  rawPath: string,
  nowS: number,
  context: ExecutionContext,
): Promise<MediaPath | typeof NOT_FOUND> {
  const asked = parseMediaPath(rawPath);
  if (asked === null) return NOT_FOUND;
  const claims = await verifier.verify(asked.token, asked.path, nowS);
  if (typeof claims === "string") return forbidden(claims);
  await revocations.keep(context);
  return revocations.refuses(claims) ? forbidden(REVOKED) : asked;
}

export class Media {
  readonly #verifier: TokenVerifier;
  readonly #revocations: Revocations;
  readonly #store: Store;
  readonly #ahead = new Ahead();
  readonly #playlists = new BoundedMap<string, Made>(
    PLAYLISTS_MAX,
    PLAYLISTS_BYTES_MAX,
    (made) => made.representation.body.byteLength,
  );

  constructor(verifier: TokenVerifier, revocations: Revocations, store: Store) {
    this.#verifier = verifier;
    this.#revocations = revocations;
    this.#store = store;
  }

  /** Forgets the playlists of a script, in this isolate. */
  forget(scriptId: string): void {
    this.#playlists.deleteWhere((path) => path.startsWith(`/t/${scriptId}/`));
  }

  async serve(request: Request, rawPath: string, host: string, context: ExecutionContext): Promise<Response> {
    const timings: [string, number][] = [];
    const began = Date.now();
    const asked = await admit(this.#verifier, this.#revocations, rawPath, began / 1_000, context);
    if ("code" in asked) return respond(asked);
    timings.push(["token", Date.now() - began]);
    const { response, cacheStatus } = await this.#find(request, asked, host, context, {
      add: (name, ms) => timings.push([name, ms]),
    });
    timings.push(["total", Date.now() - began]);
    response.headers.set("Server-Timing", timings.map(([name, ms]) => `${name};dur=${ms}`).join(", "));
    response.headers.set("Timing-Allow-Origin", "*");
    if (cacheStatus !== null) response.headers.set("Cache-Status", `${CACHE_NAME}; ${cacheStatus}`);
    return response;
  }

  async #find(
    request: Request,
    asked: MediaPath,
    host: string,
    context: ExecutionContext,
    timings: Timings,
  ): Promise<Served> {
    if (asked.kind === "multivariant" || asked.kind === "playlist") {
      return this.#playlist(request, asked, host, context, timings);
    }
    const method = request.method === "HEAD" ? "HEAD" : "GET";
    const { stored, cacheStatus } = await this.#store.find(method, asked, asked.path, host, context, timings);
    if (stored.status !== 200) return { response: passedOn(request, stored), cacheStatus };
    const response = answer(request, representationOf(stored, asked.kind === "facts"));
    // 200 or 206: not for a copy that is still good, nor for a range past the end
    if (method === "GET" && asked.kind === "segment" && response.ok) this.#goOn(asked, host, context);
    return { response, cacheStatus };
  }

  /** Looks for what follows in the background. What was answered is good, whatever becomes of this. */
  #goOn(asked: MediaPath, host: string, context: ExecutionContext): void {
    for (const next of this.#ahead.after(asked, host, Date.now())) {
      context.waitUntil(this.#store.ahead(next, host, context).catch(() => undefined));
    }
  }

  async #playlist(
    request: Request,
    asked: MediaPath,
    host: string,
    context: ExecutionContext,
    timings: Timings,
  ): Promise<Served> {
    const name = `${asked.base}${asked.kind}`;
    const made = this.#playlists.get(name);
    if (made !== undefined && Date.now() < made.until) {
      return { response: answer(request, made.representation), cacheStatus: 'hit; detail="made here"' };
    }
    const path = `${asked.base}grid.json`;
    const { stored, cacheStatus } = await this.#store.find("GET", asked, path, host, context, timings);
    if (stored.status !== 200) return { response: passedOn(request, stored), cacheStatus };
    const facts = parseFacts(new TextDecoder().decode(stored.body));
    if (facts === null) {
      console.error("The origin's grid.json is none of a version that this Worker knows.");
      return { response: respond(UNAVAILABLE), cacheStatus };
    }
    this.#ahead.learn(asked.base, segmentsOf(facts));
    const representation = await playlistOf(asked.kind, facts, header(stored, "Cache-Control"));
    this.#playlists.set(name, { representation, until: Date.now() + PLAYLIST_KEPT_MS });
    return { response: answer(request, representation), cacheStatus: `${cacheStatus}; detail="made here"` };
  }
}

async function playlistOf(kind: string, facts: Facts, cacheControl: string): Promise<Representation> {
  const text = kind === "multivariant" ? multivariantPlaylist(facts) : mediaPlaylist(facts);
  const body = new TextEncoder().encode(text);
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", body));
  const hex = Array.from(digest.slice(0, 16), (byte) => byte.toString(16).padStart(2, "0")).join("");
  return { body, size: body.byteLength, contentType: PLAYLIST_TYPE, cacheControl, etag: `"${hex}"`, compressible: true };
}

function representationOf(stored: Stored, compressible: boolean): Representation {
  return {
    body: stored.body,
    size: stored.size,
    contentType: header(stored, "Content-Type"),
    cacheControl: header(stored, "Cache-Control"),
    etag: header(stored, "ETag"),
    compressible,
  };
}

function header(stored: Stored, wanted: string): string {
  return stored.headers.find(([name]) => name === wanted)?.[1] ?? "";
}

/** The origin's own answer, where it is no content: a refusal, or 503 with `Retry-After`. */
function passedOn(request: Request, stored: Stored): Response {
  // by whoever stands before it, or a server of another release: the same as here
  if (stored.status === FORBIDDEN) return respond(forbidden("The origin refuses it."));
  const headers = new Headers(stored.headers.map(([name, value]) => [name, value]));
  headers.set("Cache-Control", "no-store");
  return new Response(request.method === "HEAD" ? null : stored.body, { status: stored.status, headers });
}
