/**
 * Which segments are fetched before somebody asks for them: the next one of the same rung, so that who hears a script as the
 * first of a data centre waits for the origin at the first segment and after a jump, and nowhere else.
 *
 *     n was answered   n+1 past the end, as far as that is known        nothing
 *                      n+1 answered or looked for LOOKED_KEPT_MS ago    nothing
 *                      else                                             n+1 is looked for, and fetched if it is not kept
 *
 * Pure. Owns: what was looked for a short while ago, and where scripts end, as far as this isolate has made their playlists. Of
 * others the origin is asked for one segment past the end, at most once in LOOKED_KEPT_MS, and its 404 is dropped.
 */

import { BoundedMap } from "./bounded.ts";
import { type MediaPath, segmentAfter } from "./paths.ts";

/** A player that plays on needs the next in six seconds; one that stops, or jumps, leaves so many that nobody may ask for. */
export const SEGMENTS_AHEAD = 1;
/**
 * A segment that many hear costs one look into the cache in this time, not one a request. That holds also for one that was not to
 * be had: its listeners ask for it themselves meanwhile.
 */
export const LOOKED_KEPT_MS = 60_000;
/** With 200 bytes each 2 MB. Dropped too early, a segment is looked for once more. */
export const LOOKED_MAX = 10_000;
const ENDS_MAX = 5_000;

export class Ahead {
  readonly #lookedAt = new BoundedMap<string, number>(LOOKED_MAX);
  /** How many segments a rung of a media version has, by its base. */
  readonly #ends = new BoundedMap<string, number>(ENDS_MAX);

  learn(base: string, segments: number): void {
    this.#ends.set(base, segments);
  }

  /** What to look for, now that the segment `asked` was answered with its bytes at `nowMs`. They count as looked for from here on. */
  after(asked: MediaPath, host: string, nowMs: number): readonly MediaPath[] {
    this.#lookedAt.set(host + asked.path, nowMs);
    const wanted: MediaPath[] = [];
    for (let count = 1; count <= SEGMENTS_AHEAD; count += 1) {
      const next = segmentAfter(asked, count);
      const end = this.#ends.get(asked.base) ?? Infinity;
      if (next?.segment == null || next.segment >= end) break;
      const key = host + next.path;
      if (nowMs - (this.#lookedAt.get(key) ?? -Infinity) < LOOKED_KEPT_MS) continue;
      this.#lookedAt.set(key, nowMs);
      wanted.push(next);
    }
    return wanted;
  }
}
