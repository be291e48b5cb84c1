/**
 * Who is listening on which device: the token, and a device id that is this tab's own.
 * The token comes from the form or the address (`#token=…&device=Phone&script=…`), leaves the address at once, is kept
 * in this tab's session storage alone, and is never written to a log.
 */

import type { Identity } from "./connection.ts";

const TOKEN_KEY = "playhead.token";
const NAME_KEY = "playhead.device_name";
const ID_KEY = "playhead.device_id";
const LIVE_KEY = "playhead.live";
/** The server takes no longer name. */
const NAME_LENGTH_MAX = 60;

export interface Invitation {
  readonly token: string | null;
  readonly device: string | null;
  readonly script: string | null;
}

/** Reads `#token=…&device=…&script=…`. */
export function parseFragment(fragment: string): Invitation {
  const fields = new URLSearchParams(fragment.replace(/^#/, ""));
  return { token: fields.get("token"), device: fields.get("device"), script: fields.get("script") };
}

/** Takes the invitation out of the address bar, so that it is neither shared nor kept in the history. */
export function takeInvitation(): Invitation {
  const invitation = parseFragment(location.hash);
  if (location.hash) history.replaceState(null, "", location.pathname + location.search);
  if (invitation.token) sessionStorage.setItem(TOKEN_KEY, invitation.token);
  if (invitation.device) sessionStorage.setItem(NAME_KEY, invitation.device);
  return invitation;
}

export function storedToken(): string | null {
  return sessionStorage.getItem(TOKEN_KEY);
}

export function deviceName(): string {
  return (sessionStorage.getItem(NAME_KEY)?.trim() || guessedName(navigator.userAgent)).slice(0, NAME_LENGTH_MAX);
}

export function signIn(token: string, name: string): void {
  sessionStorage.setItem(TOKEN_KEY, token);
  sessionStorage.setItem(NAME_KEY, name);
}

export function signOut(): void {
  sessionStorage.removeItem(TOKEN_KEY);
}

export function identity(token: string): Identity {
  return { token, device: { id: deviceId(), name: deviceName(), kind: guessedKind(navigator.userAgent) } };
}

/**
 * The id of this tab. A duplicated tab starts with a copy of our session storage: it finds the mark of a page that is
 * still alive and takes an id of its own; a reloaded one finds none, because the page before has removed it.
 */
export function deviceId(): string {
  const kept = sessionStorage.getItem(ID_KEY);
  if (kept && (deviceIdTaken || sessionStorage.getItem(LIVE_KEY) === null)) return claim(kept);
  return claim(uuid());
}

let deviceIdTaken = false;

function claim(id: string): string {
  sessionStorage.setItem(ID_KEY, id);
  if (!deviceIdTaken) {
    deviceIdTaken = true;
    const mark = (): void => sessionStorage.setItem(LIVE_KEY, "1");
    mark();
    addEventListener("pageshow", mark);
    addEventListener("pagehide", () => sessionStorage.removeItem(LIVE_KEY));
  }
  return id;
}

/** A random UUID; `crypto.randomUUID` is missing where a phone opens the page by plain http. */
export function uuid(): string {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  bytes[6] = ((bytes[6] ?? 0) & 0x0f) | 0x40;
  bytes[8] = ((bytes[8] ?? 0) & 0x3f) | 0x80;
  const hex = Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
  return [hex.slice(0, 8), hex.slice(8, 12), hex.slice(12, 16), hex.slice(16, 20), hex.slice(20)].join("-");
}

const SYSTEMS: readonly [RegExp, string][] = [
  [/iPhone/, "iPhone"],
  [/iPad/, "iPad"],
  [/Android/, "Android"],
  [/Mac OS X/, "Mac"],
  [/Windows/, "Windows"],
  [/Linux|CrOS/, "Linux"],
];
const BROWSERS: readonly [RegExp, string][] = [
  [/Edg\//, "Edge"],
  [/Firefox\//, "Firefox"],
  [/Chrome\/|Chromium\//, "Chrome"],
  [/Safari\//, "Safari"],
];

export function guessedName(agent: string): string {
  const first = (table: readonly [RegExp, string][], otherwise: string): string =>
    table.find(([pattern]) => pattern.test(agent))?.[1] ?? otherwise;
  return `${first(BROWSERS, "Browser")} on ${first(SYSTEMS, "this device")}`;
}

export function guessedKind(agent: string): "phone" | "browser" {
  return /iPhone|Android.*Mobile/.test(agent) ? "phone" : "browser";
}
