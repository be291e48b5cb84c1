/**
 * Takes a script out of the cache of all data centres: `POST /purge` with `Authorization: Bearer <PURGE_SECRET>` and
 * `{"script_id": "…"}`. Media are versioned and never change, so this is for what must no longer be heard.
 */

import { INVALID, UNAUTHORIZED, UNAVAILABLE, respond } from "./problems.ts";
import type { PurgeSettings } from "./settings.ts";
import { scriptTag } from "./store.ts";

const BODY_BYTES_MAX = 1_024;
const API_TIMEOUT_MS = 15_000;
const SCRIPT_ID = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/;

/** Whoever can take all that has a tag out of a cache. Throws PurgeFailed. */
export interface Purger {
  purge(tag: string): Promise<void>;
}

export class PurgeFailed extends Error {}

/** Cloudflare's purge by tag, which reaches every data centre (`POST /zones/{zone_id}/purge_cache`). */
export class CloudflarePurger implements Purger {
  readonly #settings: PurgeSettings;

  constructor(settings: PurgeSettings) {
    this.#settings = settings;
  }

  async purge(tag: string): Promise<void> {
    const { apiUrl, apiToken, zoneId } = this.#settings;
    let answer: Response;
    try {
      answer = await fetch(`${apiUrl}/zones/${encodeURIComponent(zoneId)}/purge_cache`, {
        method: "POST",
        headers: { Authorization: `Bearer ${apiToken}`, "Content-Type": "application/json" },
        body: JSON.stringify({ tags: [tag] }),
        signal: AbortSignal.timeout(API_TIMEOUT_MS),
      });
    } catch (error) {
      throw new PurgeFailed(String(error));
    }
    const result = (await answer.json().catch(() => null)) as { success?: unknown } | null;
    if (!answer.ok || result?.success !== true) throw new PurgeFailed(`Cloudflare answered ${answer.status}`);
  }
}

/** Answers a purge. `forget` is told of the script, for what the isolate itself keeps. */
export async function servePurge(
  request: Request,
  secret: string,
  purger: Purger,
  forget: (scriptId: string) => void,
): Promise<Response> {
  const shown = /^Bearer (.+)$/i.exec(request.headers.get("Authorization") ?? "")?.[1];
  if (shown === undefined || !(await same(shown, secret))) return respond(UNAUTHORIZED);
  const scriptId = await askedFor(request);
  if (scriptId === null) return respond(INVALID);
  try {
    await purger.purge(scriptTag(scriptId));
  } catch (error) {
    console.error("The cache was not purged.", String(error));
    return respond({ ...UNAVAILABLE, detail: "The cache could not be purged now. Try again in a moment." });
  }
  forget(scriptId);
  return new Response(null, { status: 204, headers: { "Cache-Control": "no-store" } });
}

/** In constant time, also in what the lengths are: digests are compared. */
async function same(one: string, other: string): Promise<boolean> {
  const [left, right] = await Promise.all(
    [one, other].map((text) => crypto.subtle.digest("SHA-256", new TextEncoder().encode(text))),
  );
  return left !== undefined && right !== undefined && crypto.subtle.timingSafeEqual(left, right);
}

async function askedFor(request: Request): Promise<string | null> {
  const size = Number(request.headers.get("Content-Length") ?? Number.NaN);
  if (!(size <= BODY_BYTES_MAX)) return null;
  const body = (await request.json().catch(() => null)) as { script_id?: unknown } | null;
  const found = body?.script_id;
  return typeof found === "string" && SCRIPT_ID.test(found) ? found : null;
}
