/**
 * Media tokens that are refused before their time, as the origin refuses them (`playhead.auth.revocations`): those of sessions
 * that have ended, and of scripts taken back.
 *
 *     a copy younger than REFRESH_MS      nobody is asked
 *     older                               the origin is asked what is new, in the background
 *     older than twice that, or none yet  the request waits for that, for WAIT_MS at most
 *
 * Owns: the copy of this isolate, in which no number of endings drops what an operator has revoked. While the origin does not answer
 * nobody is refused for it, and nobody waits a second time: what is not known to be revoked opens until it expires. It is asked by a
 * token that this Worker signs itself, with the media keys.
 */

import { BoundedMap } from "./bounded.ts";
import { inTime } from "./store.ts";
import { type Claims, encode } from "./tokens.ts";

export const REVOKED = "The media token was revoked: its session has ended, or the script was taken back.";

const REFRESH_MS = 20_000;
const WAIT_MS = 1_000;
const PAGE_TIMEOUT_MS = 5_000;
/** What one refresh reads; the next goes on from there. */
const PAGES_MAX = 40;
const ROWS_MAX = 20_000;
/** The origin keeps fewer, of sessions that have ended as of what operators have revoked. */
const ENDED_MAX = 150_000;
const BY_OPERATOR_MAX = 30_000;
const TOKEN_VALID_S = 60;
const PATH = "/revoked";
const FORBIDDEN = 403;

/** What was revoked since some time, and which of it by an operator. `next`: the time to ask for next; `more`: at once. */
export interface RevokedPage {
  readonly revoked: readonly (readonly [string, number])[];
  readonly by_operator: readonly string[];
  readonly next: number;
  readonly more: boolean;
}

/** Whoever keeps the list. Throws when it cannot be had now. */
export interface RevokedSource {
  page(since: number): Promise<RevokedPage>;
}

/** The list of the playhead server: `GET /p/<token>/revoked?since=…`. */
export class OriginRevoked implements RevokedSource {
  readonly #originUrl: string;
  readonly #secrets: readonly (readonly [string, string])[];

  constructor(originUrl: string, secrets: Readonly<Record<string, string>>) {
    this.#originUrl = originUrl;
    this.#secrets = Object.entries(secrets);
  }

  /** While keys are rotated the server may not know each of ours. */
  async page(since: number): Promise<RevokedPage> {
    let status = 0;
    for (const [keyId, secret] of this.#secrets) {
      const token = await signed(keyId, secret, Math.floor(Date.now() / 1_000) + TOKEN_VALID_S);
      const answer = await fetch(`${this.#originUrl}/p/${token}${PATH}?since=${since}`, {
        redirect: "manual",
        signal: AbortSignal.timeout(PAGE_TIMEOUT_MS),
      });
      if (answer.status === 200) return parsePage(await answer.json());
      await answer.body?.cancel();
      status = answer.status;
      if (status !== FORBIDDEN) break;
    }
    throw new Error(`The origin answered ${status}.`);
  }
}

export class Revocations {
  readonly #source: RevokedSource;
  readonly #refreshMs: number;
  readonly #ended = new BoundedMap<string, number>(ENDED_MAX);
  readonly #byOperator = new BoundedMap<string, number>(BY_OPERATOR_MAX);
  #since = 0;
  #knownAt = -Infinity;
  #nextAt = -Infinity;
  #failing = false;
  #refresh: Promise<void> = Promise.resolve();

  constructor(source: RevokedSource, refreshMs = REFRESH_MS) {
    this.#source = source;
    this.#refreshMs = refreshMs;
  }

  /** Whether a token with these claims is void, as far as is known. */
  refuses(claims: Claims): boolean {
    if (claims.sessionId !== null && this.#hasEnded(claims.sessionId)) return true;
    const until = this.#byOperator.get(claims.prefix);
    return until !== undefined && claims.expiresAtS <= until;
  }

  #hasEnded(sessionId: string): boolean {
    return this.#ended.get(sessionId) !== undefined || this.#byOperator.get(sessionId) !== undefined;
  }

  /** Returns when the copy is new enough, or cannot be had soon. */
  async keep(context: ExecutionContext): Promise<void> {
    const now = Date.now();
    const age = now - this.#knownAt;
    if (age < this.#refreshMs) return;
    if (now >= this.#nextAt) {
      // also where one is under way: it may have ended with the request that began it
      this.#nextAt = now + this.#refreshMs / 2;
      this.#refresh = this.#read(now);
      context.waitUntil(this.#refresh);
    }
    if (age < 2 * this.#refreshMs || this.#failing) return;
    if ((await inTime(this.#refresh, WAIT_MS)) === null) this.#failing = true;
  }

  async #read(now: number): Promise<void> {
    try {
      let more = true;
      for (let pages = 0; more && pages < PAGES_MAX; pages += 1) {
        const page = await this.#source.page(this.#since);
        this.#take(page);
        this.#since = page.next;
        more = page.more;
      }
      if (!more) this.#knownAt = now;
      this.#failing = more;
    } catch (error) {
      this.#failing = true;
      console.error("What was revoked is not known now.", String(error));
    }
  }

  #take(page: RevokedPage): void {
    const byOperator = new Set(page.by_operator);
    for (const [subject, until] of page.revoked) {
      // only an operator takes a script back, also where the origin is of a release that does not name his
      const kept = byOperator.has(subject) || subject.startsWith("/") ? this.#byOperator : this.#ended;
      kept.set(subject, until);
    }
  }
}

async function signed(keyId: string, secret: string, expiresAtS: number): Promise<string> {
  const text = new TextEncoder();
  const algorithm = { name: "HMAC", hash: "SHA-256" };
  const key = await crypto.subtle.importKey("raw", text.encode(secret), algorithm, false, ["sign"]);
  const body = encode(text.encode(JSON.stringify({ v: 1, k: keyId, p: PATH, e: expiresAtS })));
  return `${body}.${encode(new Uint8Array(await crypto.subtle.sign("HMAC", key, text.encode(body))))}`;
}

function parsePage(raw: unknown): RevokedPage {
  const found = raw as { revoked?: unknown; by_operator?: unknown; next?: unknown; more?: unknown } | null;
  const { revoked, by_operator: byOperator = [], next, more } = found ?? {};
  if (!Array.isArray(revoked) || revoked.length > ROWS_MAX || !revoked.every(isRow)) throw new Error("no list of what was revoked");
  if (!Array.isArray(byOperator) || byOperator.length > ROWS_MAX || !byOperator.every(isText)) {
    throw new Error("no list of what operators have revoked");
  }
  if (!Number.isSafeInteger(next) || (next as number) < 0) throw new Error("no time to go on from");
  return { revoked, by_operator: byOperator, next: next as number, more: more === true };
}

function isText(value: unknown): value is string {
  return typeof value === "string";
}

function isRow(row: unknown): row is [string, number] {
  return Array.isArray(row) && typeof row[0] === "string" && Number.isSafeInteger(row[1]);
}
