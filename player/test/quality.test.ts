import assert from "node:assert/strict";
import { test } from "node:test";

import { Quality } from "../src/quality.ts";

test("the wait for a sound that was asked for is told once, and is no stall", () => {
  const quality = new Quality();
  quality.asked(1_000);
  quality.silent(1_100);
  quality.asked(1_200);
  quality.sounds(1_412.4);
  assert.deepEqual(quality.take(), { stalled_ms: 0, first_audio_ms: 412 });
  quality.sounds(2_000);
  assert.deepEqual(quality.take(), { stalled_ms: 0 });
});

test("stalls add up until they are told", () => {
  const quality = new Quality();
  for (const startMs of [1_000, 5_000]) {
    quality.silent(startMs);
    quality.silent(startMs + 100);
    quality.sounds(startMs + 250);
  }
  assert.deepEqual(quality.take(), { stalled_ms: 500 });
});

test("a jump within a stall begins a wait of its own", () => {
  const quality = new Quality();
  quality.silent(1_000);
  quality.asked(3_000);
  quality.sounds(3_200);
  assert.deepEqual(quality.take(), { stalled_ms: 0, first_audio_ms: 200 });
});

test("nobody waits for what was stopped or forbidden", () => {
  const quality = new Quality();
  quality.asked(1_000);
  quality.stopped();
  quality.sounds(9_000);
  assert.deepEqual(quality.take(), { stalled_ms: 0 });
  assert.deepEqual(quality.take(), {});
});
