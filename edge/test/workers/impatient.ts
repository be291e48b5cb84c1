/**
 * The Worker's media, with hardly any patience: neither for the flights of others nor for what was revoked.
 * With `X-Leave` it is gone before its answer is there.
 */

import { Media } from "../../src/media.ts";
import { OriginRevoked, Revocations } from "../../src/revoked.ts";
import { Store } from "../../src/store.ts";
import { TokenVerifier } from "../../src/tokens.ts";

const FLIGHT_TIMEOUT_MS = 1_000;
const REFRESH_MS = 200;
const LEAVES_AFTER_MS = 1_500;
let media: Media | undefined;

export default {
  async fetch(request: Request, env: { ORIGIN_URL: string; MEDIA_KEYS: string }, context): Promise<Response> {
    const keys = JSON.parse(env.MEDIA_KEYS) as Record<string, string>;
    media ??= new Media(
      new TokenVerifier(keys),
      new Revocations(new OriginRevoked(env.ORIGIN_URL, keys), REFRESH_MS),
      new Store(env.ORIGIN_URL, FLIGHT_TIMEOUT_MS),
    );
    const { pathname, host } = new URL(request.url);
    const served = media.serve(request, pathname, host, context);
    if (!request.headers.has("X-Leave")) return served;
    // by then what was revoked is known, and the origin asked for the rest
    await Promise.race([served, scheduler.wait(LEAVES_AFTER_MS)]);
    return new Response(null, { status: 202 });
  },
} satisfies ExportedHandler<{ ORIGIN_URL: string; MEDIA_KEYS: string }>;
