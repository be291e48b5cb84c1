import assert from "node:assert/strict";
import { test } from "node:test";

import { BELIEVED_MS, correction, jumped, lagMs, NUDGE, REANCHOR_MS, UNHEARD_MS } from "../src/drift.ts";
import { playheadOf } from "../src/playhead.ts";
import { aState, NOW_MS } from "./states.ts";

const running = playheadOf(aState({ position: 10 }));
const looping = playheadOf(aState({ position: 10, loop: { start: 10, end: 14, enabled: true } }));

test("what nobody hears is left alone", () => {
  assert.deepEqual(correction(running, NOW_MS, 10_000 - UNHEARD_MS + 1, false), { kind: "none" });
  assert.deepEqual(correction(running, NOW_MS, 10_000 + UNHEARD_MS - 1, false), { kind: "none" });
});

test("a small lag is played away, a small lead is waited for, and nothing is skipped", () => {
  assert.deepEqual(correction(running, NOW_MS, 10_000 - UNHEARD_MS, false), { kind: "nudge", factor: 1 + NUDGE });
  assert.deepEqual(correction(running, NOW_MS, 10_000 + REANCHOR_MS - 1, false), { kind: "nudge", factor: 1 - NUDGE });
});

test("a late start brings the playhead to the sound, not the sound to the playhead", () => {
  assert.deepEqual(correction(running, NOW_MS, 10_000 - REANCHOR_MS, true), { kind: "report" });
  assert.deepEqual(correction(running, NOW_MS, 8_000, true), { kind: "report" });
});

test("away from the playhead without having stalled is a seek", () => {
  assert.deepEqual(correction(running, NOW_MS + 500, 9_000, false), { kind: "seek" });
  assert.deepEqual(correction(running, NOW_MS, 10_000 + REANCHOR_MS, true), { kind: "seek" });
  const followed = { ...running, reported: true };
  assert.deepEqual(correction(followed, NOW_MS, 10_000 + REANCHOR_MS, true), { kind: "report" });
  assert.deepEqual(correction(followed, NOW_MS, 10_000 + REANCHOR_MS, false), { kind: "seek" });
  assert.deepEqual(correction(followed, NOW_MS, 10_000 + BELIEVED_MS, true), { kind: "seek" });
});

test("around a loop's fold the shorter way counts", () => {
  assert.equal(lagMs(looping, NOW_MS + 4_020, 13_990), 30);
  assert.equal(lagMs(looping, NOW_MS + 3_980, 10_010), -30);
});

test("an element far outside the loop is not taken for one that folds", () => {
  assert.equal(lagMs(looping, NOW_MS + 1_000, 5_000), 6_000);
  assert.equal(lagMs(looping, NOW_MS + 1_000, 30_000), -19_000);
  assert.equal(correction(looping, NOW_MS + 50, 14_000 + REANCHOR_MS, false).kind, "seek");
});

test("the same movement anchored anew is no jump, another place or pace is", () => {
  const later = { ...running, positionMs: 12_000, anchoredAtMs: NOW_MS + 2_000 };
  assert.equal(jumped(running, later, NOW_MS + 2_500), false);
  assert.equal(jumped(running, { ...later, positionMs: 12_500 }, NOW_MS + 2_500), true);
  assert.equal(jumped(running, { ...running, playing: false }, NOW_MS + 2_500), true);
});
