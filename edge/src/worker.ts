/**
 * A Cloudflare Worker before a playhead server's media: what it answers is what the server would, from nearby.
 *
 *     GET, HEAD, OPTIONS /p/<token>/t/…   media.ts
 *     POST /purge                         purge.ts, if there is a PURGE_SECRET
 *
 * Owns: which part answers, CORS, and what surrounds every answer. Everything else is 404.
 */

import { Media } from "./media.ts";
import { INTERNAL, METHOD_NOT_ALLOWED, NO_SUCH_PATH, respond } from "./problems.ts";
import { CloudflarePurger, servePurge } from "./purge.ts";
import { OriginRevoked, Revocations } from "./revoked.ts";
import { type Env, type Settings, readSettings } from "./settings.ts";
import { Store } from "./store.ts";
import { TokenVerifier } from "./tokens.ts";

const MEDIA = "/p/";
const PURGE = "/purge";
const PREFLIGHT_KEPT_S = 600;
const FORBIDDEN = 403;
/** Said of what was looked for. Where the server refuses a token that is good here, they would tell it from one that is forged. */
const OF_LOOKING = ["Server-Timing", "Timing-Allow-Origin", "Cache-Status"];
const EXPOSED = "Content-Length, Content-Range, ETag, Retry-After, Cache-Status, Server-Timing";

interface Edge {
  readonly settings: Settings;
  readonly media: Media;
}

/** Of this isolate, which lives for many requests: `env` is the same object for all of them. */
const edges = new WeakMap<Env, Edge>();

function edgeOf(env: Env): Edge {
  let edge = edges.get(env);
  if (edge === undefined) {
    const settings = readSettings(env);
    const { originUrl, mediaKeys } = settings;
    const revocations = new Revocations(new OriginRevoked(originUrl, mediaKeys));
    edge = { settings, media: new Media(new TokenVerifier(mediaKeys), revocations, new Store(originUrl)) };
    edges.set(env, edge);
  }
  return edge;
}

async function route(request: Request, env: Env, context: ExecutionContext): Promise<Response> {
  const { settings, media } = edgeOf(env);
  const { host } = new URL(request.url);
  // as it was sent, but for the query, which is part of no path of ours
  const rawPath = request.url.replace(/^[^:]*:\/\/[^/]*/, "").replace(/\?.*$/s, "");
  if (rawPath.startsWith(MEDIA)) {
    if (request.method === "OPTIONS" && request.headers.has("Access-Control-Request-Method")) return preflight();
    if (request.method !== "GET" && request.method !== "HEAD") return respond(METHOD_NOT_ALLOWED);
    return media.serve(request, rawPath, host, context);
  }
  if (rawPath === PURGE && request.method === "POST" && settings.purge !== null) {
    const { purge } = settings;
    return servePurge(request, purge.secret, new CloudflarePurger(purge), (scriptId) => media.forget(scriptId));
  }
  return respond(NO_SUCH_PATH);
}

function preflight(): Response {
  return new Response(null, {
    status: 204,
    headers: {
      "Access-Control-Allow-Methods": "GET, HEAD",
      "Access-Control-Allow-Headers": "Range",
      "Access-Control-Max-Age": String(PREFLIGHT_KEPT_S),
    },
  });
}

export default {
  async fetch(request: Request, env: Env, context: ExecutionContext): Promise<Response> {
    let response: Response;
    try {
      response = await route(request, env, context);
    } catch (error) {
      console.error("A request failed.", String(error));
      response = respond(INTERNAL);
    }
    if (response.status === FORBIDDEN) for (const name of OF_LOOKING) response.headers.delete(name);
    // the token is the authority, so whoever has one may ask, from any site
    response.headers.set("Access-Control-Allow-Origin", "*");
    response.headers.set("Access-Control-Expose-Headers", EXPOSED);
    response.headers.set("X-Content-Type-Options", "nosniff");
    response.headers.set("Referrer-Policy", "no-referrer");
    return response;
  },
} satisfies ExportedHandler<Env>;
