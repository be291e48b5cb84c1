/**
 * The Worker's media, with hardly any patience: neither for the flights of others nor for what was revoked.
 * Who asks with `X-Leave` is answered 202 as soon as somebody asks for /leave, whatever became of it until then.
 */

import { Media } from "../../src/media.ts";
import { OriginRevoked, Revocations } from "../../src/revoked.ts";
import { Store } from "../../src/store.ts";
import { TokenVerifier } from "../../src/tokens.ts";

const FLIGHT_TIMEOUT_MS = 1_000;
const REFRESH_MS = 200;
const LOOK_MS = 10;
let media: Media | undefined;
/** A request may not settle what another one waits for, so that one looks. */
let leaving = false;

async function left(): Promise<Response> {
  while (!leaving) await scheduler.wait(LOOK_MS);
  leaving = false;
  return new Response(null, { status: 202 });
}

export default {
  async fetch(request: Request, env: { ORIGIN_URL: string; MEDIA_KEYS: string }, context): Promise<Response> {
    const keys = JSON.parse(env.MEDIA_KEYS) as Record<string, string>;
    media ??= new Media(
      new TokenVerifier(keys),
      new Revocations(new OriginRevoked(env.ORIGIN_URL, keys), REFRESH_MS),
      new Store(env.ORIGIN_URL, FLIGHT_TIMEOUT_MS),
    );
    const { pathname, host } = new URL(request.url);
    if (pathname === "/leave") {
      leaving = true;
      return new Response(null, { status: 204 });
    }
    const served = media.serve(request, pathname, host, context);
    return request.headers.has("X-Leave") ? Promise.race([served, left()]) : served;
  },
} satisfies ExportedHandler<{ ORIGIN_URL: string; MEDIA_KEYS: string }>;
