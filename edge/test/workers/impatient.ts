/**
 * The Worker's media, with hardly any patience: neither for the flights of others nor for what was revoked.
 */

import { Media } from "../../src/media.ts";
import { OriginRevoked, Revocations } from "../../src/revoked.ts";
import { Store } from "../../src/store.ts";
import { TokenVerifier } from "../../src/tokens.ts";

const FLIGHT_TIMEOUT_MS = 1_000;
const REFRESH_MS = 200;
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
    return media.serve(request, pathname, host, context);
  },
} satisfies ExportedHandler<{ ORIGIN_URL: string; MEDIA_KEYS: string }>;
