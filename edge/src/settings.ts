/** What the Worker is given by wrangler.toml and by `wrangler secret put`. All faults are reported at once, without values. */

export interface Env {
  /** Where the playhead server answers, e.g. `https://origin.example.org`; nothing after the host. */
  readonly ORIGIN_URL: string;
  /** Secret. The server's PLAYHEAD_MEDIA_KEYS: JSON of key id and secret, two while they are rotated. */
  readonly MEDIA_KEYS: string;
  /** Secret. Who shows it may purge; without it there is no purge. */
  readonly PURGE_SECRET?: string;
  /** The zone whose cache is purged, and a token that may do so (secret): Zone, Cache Purge. */
  readonly CLOUDFLARE_ZONE_ID?: string;
  readonly CLOUDFLARE_API_TOKEN?: string;
  /** Where Cloudflare's API answers; tests set it. */
  readonly CLOUDFLARE_API_URL?: string;
}

export interface Settings {
  readonly originUrl: string;
  readonly mediaKeys: Readonly<Record<string, string>>;
  readonly purge: PurgeSettings | null;
}

export interface PurgeSettings {
  readonly secret: string;
  readonly zoneId: string;
  readonly apiToken: string;
  readonly apiUrl: string;
}

export class InvalidSettings extends Error {}

const CLOUDFLARE_API_URL = "https://api.cloudflare.com/client/v4";
const PURGE_SECRET_LENGTH_MIN = 32;

export function readSettings(env: Env): Settings {
  const faults: string[] = [];
  const origin = URL.canParse(env.ORIGIN_URL ?? "") ? new URL(env.ORIGIN_URL) : null;
  if (origin === null || !/^https?:$/.test(origin.protocol) || origin.pathname !== "/" || origin.search !== "") {
    faults.push("ORIGIN_URL must be the address of a playhead server, with nothing after its host");
  }
  const mediaKeys = readKeys(env.MEDIA_KEYS ?? "");
  if (mediaKeys === null) faults.push('MEDIA_KEYS must be JSON {"key id": "secret"}, as in PLAYHEAD_MEDIA_KEYS');
  const purge = readPurge(env);
  if (typeof purge === "string") faults.push(purge);
  if (faults.length > 0 || origin === null || mediaKeys === null || typeof purge === "string") {
    throw new InvalidSettings(faults.join("; "));
  }
  return { originUrl: origin.origin, mediaKeys, purge };
}

function readKeys(text: string): Record<string, string> | null {
  try {
    const raw: unknown = JSON.parse(text);
    if (typeof raw !== "object" || raw === null || Array.isArray(raw)) return null;
    const secrets = Object.values(raw);
    return secrets.length > 0 && secrets.every((secret) => typeof secret === "string" && secret !== "")
      ? (raw as Record<string, string>)
      : null;
  } catch {
    return null;
  }
}

function readPurge(env: Env): PurgeSettings | null | string {
  const { PURGE_SECRET: secret, CLOUDFLARE_ZONE_ID: zoneId, CLOUDFLARE_API_TOKEN: apiToken } = env;
  if (!secret) return null;
  if (secret.length < PURGE_SECRET_LENGTH_MIN) return `PURGE_SECRET must have ${PURGE_SECRET_LENGTH_MIN} characters or more`;
  if (!zoneId || !apiToken) return "PURGE_SECRET needs CLOUDFLARE_ZONE_ID and CLOUDFLARE_API_TOKEN beside it";
  return { secret, zoneId, apiToken, apiUrl: env.CLOUDFLARE_API_URL ?? CLOUDFLARE_API_URL };
}
