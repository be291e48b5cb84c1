import assert from "node:assert/strict";
import { test } from "node:test";

import { DELAY_MS_MAX, SeekDelay } from "../src/seek_delay.ts";

test("the time of the last seek until its sound is known, without what has sounded since", () => {
  const delay = new SeekDelay();
  assert.equal(delay.ms, 0);
  delay.sought(60_000, 1_000);
  delay.sounds(60_100, 1_500, 1);
  delay.sounds(65_100, 6_500, 1);
  assert.equal(delay.ms, 400);
  delay.sought(10_000, 7_000);
  delay.sounds(10_200, 7_400, 2);
  assert.equal(delay.ms, 300);
});

test("a seek that waited for media is taken for a long one, and one that was stopped for none", () => {
  const delay = new SeekDelay();
  delay.sought(60_000, 1_000);
  delay.sounds(60_000, 1_000 + DELAY_MS_MAX + 1, 1);
  assert.equal(delay.ms, DELAY_MS_MAX);
  delay.sought(60_000, 9_000);
  delay.stopped();
  delay.sounds(60_100, 9_200, 1);
  assert.equal(delay.ms, DELAY_MS_MAX);
});
