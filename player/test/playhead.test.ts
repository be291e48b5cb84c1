import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import path from "node:path";
import { test } from "node:test";

import { endReached, foldingLoop, isLater, playheadOf, positionAt, secondsToMs } from "../src/playhead.ts";
import { aState } from "./states.ts";

declare const VECTORS: string;

interface Vector {
  name: string;
  playhead: {
    playing: boolean;
    position_ms: number;
    anchored_at_ms: number;
    rate: number;
    duration_ms: number;
    loop: { start_ms: number; end_ms: number; enabled: boolean } | null;
  };
  moments: [number, number, boolean][];
}

const vectors = JSON.parse(readFileSync(path.join(VECTORS, "playhead.json"), "utf8")) as Vector[];

test("there are examples to agree with", () => assert.ok(vectors.length > 20));

for (const { name, playhead, moments } of vectors) {
  test(`the browser's formula agrees with the server's: ${name}`, () => {
    // As it arrives: seconds on the wire, milliseconds inside.
    const { loop } = playhead;
    const decoded = playheadOf(
      aState({
        playing: playhead.playing,
        position: playhead.position_ms / 1000,
        anchored_at: playhead.anchored_at_ms,
        rate: playhead.rate,
        duration: playhead.duration_ms / 1000,
        loop: loop && { start: loop.start_ms / 1000, end: loop.end_ms / 1000, enabled: loop.enabled },
      }),
    );
    for (const [nowMs, positionMs, ended] of moments) {
      assert.deepEqual([nowMs, positionAt(decoded, nowMs), endReached(decoded, nowMs)], [nowMs, positionMs, ended]);
    }
  });
}

test("seconds on the wire come back as the milliseconds they were made from", () => {
  for (let ms = 0; ms < 4_000_000; ms += 37) assert.equal(secondsToMs(ms / 1000), ms);
});

test("a loop that lies behind the anchor folds nothing", () => {
  const loop = { start: 1, end: 2, enabled: true };
  assert.notEqual(foldingLoop(playheadOf(aState({ position: 1.999, loop }))), null);
  assert.equal(foldingLoop(playheadOf(aState({ position: 2, loop }))), null);
  assert.equal(foldingLoop(playheadOf(aState({ position: 1.5, loop: { ...loop, enabled: false } }))), null);
});

test("a higher revision is later, the same and a lower one are not", () => {
  const current = { epoch: 5, revision: 7 };
  assert.equal(isLater({ epoch: 5, revision: 8 }, current), true);
  assert.equal(isLater({ epoch: 5, revision: 7 }, current), false);
  assert.equal(isLater({ epoch: 5, revision: 6 }, current), false);
});

test("a higher epoch is later whatever the revision, a lower one never", () => {
  const current = { epoch: 5, revision: 7 };
  assert.equal(isLater({ epoch: 6, revision: 1 }, current), true);
  assert.equal(isLater({ epoch: 4, revision: 900 }, current), false);
  assert.equal(isLater({ epoch: 1, revision: 1 }, null), true);
});
