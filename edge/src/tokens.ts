/**
 * Signed media paths, verified as the origin does (`playhead.auth.media_paths`); tests/vectors/media_tokens.json holds both to it.
 *
 *     token = base64url(claims) "." base64url(HMAC-SHA256(key, base64url(claims)))
 *     claims = {"v": 1, "k": key id, "p": prefix, "e": expiry in Unix seconds, "s": session id if there is one, …}
 *
 * The MAC is compared by `crypto.subtle.verify`, in constant time. What was found good is kept for the isolate's life, so that
 * a listener costs one HMAC; its expiry and prefix are looked at each time.
 */

import { BoundedMap } from "./bounded.ts";

const TOKEN_VERSION = 1;
const TOKEN_BYTES_MAX = 1_024;
const KEPT_MAX = 5_000;
const TOO_LONG = "The media token is too long, or no ASCII text.";
const MALFORMED = "The media token is malformed.";
const NOT_VALID = "The media token is not valid.";
const EXPIRED = "The media token has expired.";
const ANOTHER_SCRIPT = "The media token is for another script.";

/** What a token says that opens something. */
export interface Claims {
  readonly prefix: string;
  readonly expiresAtS: number;
  readonly sessionId: string | null;
}

/** Verifies with `secrets`, a JSON object of key id and secret: two while keys are rotated. */
export class TokenVerifier {
  readonly #keys: Promise<ReadonlyMap<string, CryptoKey>>;
  readonly #good = new BoundedMap<string, Claims>(KEPT_MAX);

  constructor(secrets: Readonly<Record<string, string>>) {
    this.#keys = importKeys(secrets);
  }

  /** The claims of `token` if it allows `path` (from `/t/` on) at `nowS`, else what is wrong with it, which no answer says. */
  async verify(token: string, path: string, nowS: number): Promise<Claims | string> {
    if (token.length > TOKEN_BYTES_MAX || !/^[\x00-\x7f]*$/.test(token)) return TOO_LONG;
    const claims = this.#good.get(token) ?? (await this.#opened(token));
    if (typeof claims === "string") return claims;
    if (claims.expiresAtS <= nowS) return EXPIRED;
    return path.startsWith(claims.prefix) ? claims : ANOTHER_SCRIPT;
  }

  async #opened(token: string): Promise<Claims | string> {
    const [body = "", ...rest] = token.split(".");
    const raw = parseClaims(body);
    if (raw === null) return MALFORMED;
    const key = typeof raw["k"] === "string" ? (await this.#keys).get(raw["k"]) : undefined;
    const claims = wellFormed(raw);
    const mac = decodeCanonical(rest.join("."));
    if (key === undefined || claims === null || mac === null) return NOT_VALID;
    if (!(await crypto.subtle.verify("HMAC", key, mac, new TextEncoder().encode(body)))) return NOT_VALID;
    this.#good.set(token, claims);
    return claims;
  }
}

async function importKeys(secrets: Readonly<Record<string, string>>): Promise<ReadonlyMap<string, CryptoKey>> {
  const algorithm = { name: "HMAC", hash: "SHA-256" };
  const keys = new Map<string, CryptoKey>();
  for (const [id, secret] of Object.entries(secrets)) {
    keys.set(id, await crypto.subtle.importKey("raw", new TextEncoder().encode(secret), algorithm, false, ["verify"]));
  }
  return keys;
}

function parseClaims(body: string): Record<string, unknown> | null {
  const bytes = decode(body);
  if (bytes === null) return null;
  try {
    const raw: unknown = JSON.parse(new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes));
    if (typeof raw !== "object" || raw === null || Array.isArray(raw)) return null;
    return ["v", "k", "p", "e"].every((name) => Object.hasOwn(raw, name)) ? (raw as Record<string, unknown>) : null;
  } catch {
    return null;
  }
}

function wellFormed(raw: Record<string, unknown>): Claims | null {
  const { v, p, e, s } = raw;
  const session = s === undefined || s === null || typeof s === "string";
  if (v !== TOKEN_VERSION || typeof p !== "string" || !Number.isSafeInteger(e) || !session) return null;
  return { prefix: p, expiresAtS: e as number, sessionId: s ?? null };
}

/** Unpadded base64url. */
export function encode(bytes: Uint8Array): string {
  return btoa(String.fromCharCode(...bytes)).replaceAll("+", "-").replaceAll("/", "_").replace(/=+$/, "");
}

/** The bytes of unpadded base64url, or null. */
function decode(text: string): Uint8Array | null {
  if (!/^[A-Za-z0-9_-]*$/.test(text)) return null;
  try {
    const binary = atob(text.replaceAll("-", "+").replaceAll("_", "/"));
    return Uint8Array.from(binary, (character) => character.charCodeAt(0));
  } catch {
    return null;
  }
}

/** The same, but null unless spelled as we spell it: base64 has several spellings of the same bytes. */
function decodeCanonical(text: string): Uint8Array | null {
  const bytes = decode(text);
  if (bytes === null) return null;
  return encode(bytes) === text ? bytes : null;
}
