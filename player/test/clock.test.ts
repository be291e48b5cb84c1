import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import path from "node:path";
import { test } from "node:test";

import { ClockEstimator, RESOLUTION_MS, SAMPLES_MAX } from "../src/clock.ts";

declare const VECTORS: string;

interface Vector {
  name: string;
  trips: [number, number, number, number][];
  /** After each trip: samples kept, offset, uncertainty then and a minute later. */
  answers: [number, number, number, number][];
}

const vectors = JSON.parse(readFileSync(path.join(VECTORS, "clock.json"), "utf8")) as Vector[];

/** One round trip to a server that is `aheadMs` ahead; `outMs` and `backMs` on the way, `thinkMs` at the server. */
function trip(clock: ClockEstimator, atMs: number, aheadMs: number, outMs: number, backMs: number, thinkMs = 0): void {
  const t1 = atMs + outMs + aheadMs;
  clock.add(atMs, t1, t1 + thinkMs, atMs + outMs + thinkMs + backMs);
}

test("there are examples to agree with", () => assert.ok(vectors.length > 10));

for (const { name, trips, answers } of vectors) {
  test(`the browser's estimate agrees with the server's: ${name}`, () => {
    const clock = new ClockEstimator();
    trips.forEach((times, index) => {
      clock.add(...times);
      const t3 = times[3];
      // The offset comes back out of a sum with local time, which keeps 13 digits before the point and 3 after it.
      const offsetMs = Math.round((clock.serverMs(t3) - t3) * 1_000) / 1_000;
      const found = [clock.sampleCount, offsetMs, clock.uncertaintyMs(t3), clock.uncertaintyMs(t3 + 60_000)];
      assert.deepEqual(found, answers[index]);
    });
  });
}

test("without a sample local time is served, with unbounded uncertainty", () => {
  const clock = new ClockEstimator();
  assert.equal(clock.serverMs(1_000), 1_000);
  assert.equal(clock.uncertaintyMs(1_000), Number.POSITIVE_INFINITY);
});

test("the error never exceeds the bound of the best sample", () => {
  const clock = new ClockEstimator();
  trip(clock, 0, 5_000, 70, 10);
  trip(clock, 100, 5_000, 0, 40);
  assert.ok(Math.abs(clock.serverMs(140) - 5_140) <= clock.uncertaintyMs(140));
});

test("of nine samples the worst goes: a late loop takes no good one's place", () => {
  const clock = new ClockEstimator();
  trip(clock, 0, 5_000, 1, 1);
  for (let n = 1; n <= 2 * SAMPLES_MAX; n += 1) trip(clock, n * 10_000, 5_000, 1, 400);
  assert.equal(clock.sampleCount, SAMPLES_MAX);
  assert.equal(clock.serverMs(160_000), 165_000);
  assert.equal(clock.uncertaintyMs(160_000), 1 + RESOLUTION_MS + 16);
});

test("after the machine slept the samples from before are forgotten, even where they had less delay", () => {
  const clock = new ClockEstimator();
  trip(clock, 0, 5_000, 1, 1);
  trip(clock, 100, 605_000, 30, 30);
  assert.equal(clock.serverMs(100), 605_100);
  assert.equal(clock.sampleCount, 1);
});

test("a sample that is no number changes nothing", () => {
  const clock = new ClockEstimator();
  trip(clock, 0, 5_000, 5, 5);
  clock.add(Number.NaN, 5_000, 5_000, 10);
  assert.equal(clock.serverMs(100), 5_100);
});
