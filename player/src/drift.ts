/**
 * What the sounding element must do to stay on the playhead. Pure: places and times come in, a decision goes out.
 *
 *     | lag |           < 40 ms     nothing: nobody hears it
 *                       < 250 ms    play a touch faster or slower until it is gone: nothing is skipped
 *     otherwise         after a late start or a stall: report the true place, the playhead comes back to what was heard;
 *                       likewise ahead of one that has followed this sound, and was late;
 *                       else seek: somebody moved the playhead
 */

import { foldingLoop, positionAt, type Playhead } from "./playhead.ts";

export const UNHEARD_MS = 40;
/** The server moves the playhead to a report that differs by more than this; below, the device adapts. */
export const REANCHOR_MS = 250;
/** A place that is further ahead of the playhead is not believed by the server. */
export const BELIEVED_MS = 2_000;
/** Speed change that speech and music bear unnoticed. */
export const NUDGE = 0.04;

export type Correction =
  | { readonly kind: "none" }
  | { readonly kind: "nudge"; readonly factor: number }
  | { readonly kind: "report" }
  | { readonly kind: "seek" };

/** How far the element is behind the playhead, negative when ahead; inside a loop the shorter way round. */
export function lagMs(playhead: Playhead, nowMs: number, elementMs: number): number {
  const lag = positionAt(playhead, nowMs) - elementMs;
  const loop = foldingLoop(playhead);
  if (!loop || elementMs < loop.startMs - UNHEARD_MS || elementMs >= loop.endMs + REANCHOR_MS) return lag;
  const length = loop.endMs - loop.startMs;
  if (Math.abs(lag) <= length / 2) return lag;
  return lag > 0 ? lag - length : lag + length;
}

/** `late`: the sound has just started or stalled, and its place was not yet reported. */
export function correction(playhead: Playhead, nowMs: number, elementMs: number, late: boolean): Correction {
  const lag = lagMs(playhead, nowMs, elementMs);
  const size = Math.abs(lag);
  if (size < UNHEARD_MS) return { kind: "none" };
  if (size < REANCHOR_MS) return { kind: "nudge", factor: lag > 0 ? 1 + NUDGE : 1 - NUDGE };
  if (late && (lag > 0 || (playhead.reported && size < BELIEVED_MS))) return { kind: "report" };
  return { kind: "seek" };
}

/** Whether `next` is another movement than `before`, not just the same one anchored anew. */
export function jumped(before: Playhead, next: Playhead, nowMs: number): boolean {
  return Math.abs(positionAt(before, nowMs) - positionAt(next, nowMs)) >= UNHEARD_MS;
}
