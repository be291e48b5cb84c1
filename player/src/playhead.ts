/**
 * Where the playhead is at a given server time, and which of two states is the later one.
 * Pure, and the same arithmetic as `playhead.playback.state.position_at` in Python, rounding included:
 * both are tested against `tests/vectors/playhead.json`.
 *
 *     position(now) = playing ? position + max(0, now - anchored_at) * rate : position
 *     with a loop [start, end): once past `end` it folds back into the loop;  without: clamped to [0, duration]
 */

import type { State } from "./wire.ts";

/** An A-B loop over `[startMs, endMs)`; without effect while `enabled` is false. */
export interface Loop {
  readonly startMs: number;
  readonly endMs: number;
  readonly enabled: boolean;
}

export interface Playhead {
  readonly playing: boolean;
  readonly positionMs: number;
  readonly anchoredAtMs: number;
  readonly rate: number;
  readonly durationMs: number;
  readonly loop: Loop | null;
  /** The anchor is where the sounding device said that it is: the playhead has followed the sound, nobody has moved it. */
  readonly reported?: boolean;
}

/** Half to even, as Python rounds. */
function rounded(value: number): number {
  const floor = Math.floor(value);
  if (value - floor !== 0.5) return Math.round(value);
  return floor % 2 === 0 ? floor : floor + 1;
}

export function secondsToMs(seconds: number): number {
  return Math.round(seconds * 1000);
}

export function playheadOf(state: State): Playhead {
  return {
    playing: state.playing,
    positionMs: secondsToMs(state.position),
    anchoredAtMs: state.anchored_at,
    rate: state.rate,
    durationMs: secondsToMs(state.duration),
    loop: state.loop && {
      startMs: secondsToMs(state.loop.start),
      endMs: secondsToMs(state.loop.end),
      enabled: state.loop.enabled,
    },
    reported: state.cause?.command === "progress",
  };
}

/** The loop that folds playback: enabled, and not yet behind the anchor. */
export function foldingLoop(playhead: Playhead): Loop | null {
  const { loop } = playhead;
  return loop?.enabled && playhead.positionMs < loop.endMs ? loop : null;
}

/** The place in ms at server time `nowMs`: within `[0, durationMs]`, inside an enabled loop folded back. */
export function positionAt(playhead: Playhead, nowMs: number): number {
  if (!playhead.playing) return playhead.positionMs;
  const placeMs = playhead.positionMs + rounded(Math.max(0, nowMs - playhead.anchoredAtMs) * playhead.rate);
  const loop = foldingLoop(playhead);
  if (loop) {
    return placeMs < loop.endMs ? placeMs : loop.startMs + ((placeMs - loop.startMs) % (loop.endMs - loop.startMs));
  }
  return Math.min(Math.max(placeMs, 0), playhead.durationMs);
}

/** Whether playback has run into the end of the script by `nowMs`. */
export function endReached(playhead: Playhead, nowMs: number): boolean {
  return playhead.playing && !playhead.loop?.enabled && positionAt(playhead, nowMs) >= playhead.durationMs;
}

interface Ordered {
  epoch: number;
  revision: number;
}

/** Whether `candidate` is later than `current`: states are ordered by `(epoch, revision)`; the rest is dropped. */
export function isLater(candidate: Ordered, current: Ordered | null): boolean {
  if (current === null) return true;
  if (candidate.epoch !== current.epoch) return candidate.epoch > current.epoch;
  return candidate.revision > current.revision;
}
