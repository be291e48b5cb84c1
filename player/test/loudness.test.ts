import assert from "node:assert/strict";
import { test } from "node:test";

import { volumeFor } from "../src/loudness.ts";

test("a loud script is turned down by its gain", () => {
  assert.equal(volumeFor(0), 1);
  assert.ok(Math.abs(volumeFor(-6.0206) - 0.5) < 1e-6);
  assert.ok(Math.abs(volumeFor(-20) - 0.1) < 1e-9);
});

test("a quiet script, and one whose loudness is unknown, plays at the full volume and never above", () => {
  for (const gainDb of [0.1, 15, null, Number.NaN, Number.POSITIVE_INFINITY]) assert.equal(volumeFor(gainDb), 1);
});
