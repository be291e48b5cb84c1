/** The Worker's media, with hardly any patience for the flights of others. */

import { Media } from "../../src/media.ts";
import { Store } from "../../src/store.ts";
import { TokenVerifier } from "../../src/tokens.ts";

const FLIGHT_TIMEOUT_MS = 300;
let media: Media | undefined;

export default {
  async fetch(request: Request, env: { ORIGIN_URL: string; MEDIA_KEYS: string }, context): Promise<Response> {
    const keys = JSON.parse(env.MEDIA_KEYS) as Record<string, string>;
    media ??= new Media(new TokenVerifier(keys), new Store(env.ORIGIN_URL, FLIGHT_TIMEOUT_MS));
    const { pathname, host } = new URL(request.url);
    return media.serve(request, pathname, host, context);
  },
} satisfies ExportedHandler<{ ORIGIN_URL: string; MEDIA_KEYS: string }>;
