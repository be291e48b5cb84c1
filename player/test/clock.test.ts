import assert from "node:assert/strict";
import { test } from "node:test";

import { ClockEstimator, DRIFT_MS_MAX, SAMPLES_MAX } from "../src/clock.ts";

/** One round trip to a server that is `aheadMs` ahead; `outMs` and `backMs` on the way, `thinkMs` at the server. */
function trip(clock: ClockEstimator, atMs: number, aheadMs: number, outMs: number, backMs: number, thinkMs = 0): void {
  const t1 = atMs + outMs + aheadMs;
  clock.add(atMs, t1, t1 + thinkMs, atMs + outMs + thinkMs + backMs);
}

test("without a sample local time is served, with unbounded uncertainty", () => {
  const clock = new ClockEstimator();
  assert.equal(clock.serverMs(1_000), 1_000);
  assert.equal(clock.uncertaintyMs, Number.POSITIVE_INFINITY);
});

test("equal ways there and back give the offset exactly, however long the server thinks", () => {
  const clock = new ClockEstimator();
  trip(clock, 0, 5_000, 20, 20, 300);
  assert.equal(clock.serverMs(1_000), 6_000);
  assert.equal(clock.uncertaintyMs, 20);
});

test("the sample with the least delay is trusted, not the newest", () => {
  const clock = new ClockEstimator();
  trip(clock, 0, 5_000, 5, 5);
  trip(clock, 100, 5_000, 10, 200);
  assert.equal(clock.serverMs(1_000), 6_000);
});

test("the error never exceeds half the delay of the best sample", () => {
  const clock = new ClockEstimator();
  trip(clock, 0, 5_000, 70, 10);
  trip(clock, 100, 5_000, 0, 40);
  assert.ok(Math.abs(clock.serverMs(0) - 5_000) <= clock.uncertaintyMs);
});

test("only the last eight samples count", () => {
  const clock = new ClockEstimator();
  trip(clock, 0, 5_000, 1, 1);
  for (let n = 1; n <= SAMPLES_MAX; n += 1) trip(clock, n * 100, 5_000, 10, 10);
  assert.equal(clock.sampleCount, SAMPLES_MAX);
  assert.equal(clock.uncertaintyMs, 10);
});

test("after the machine slept the samples from before are forgotten, even where they had less delay", () => {
  const clock = new ClockEstimator();
  trip(clock, 0, 5_000, 1, 1);
  trip(clock, 100, 605_000, 30, 30);
  assert.equal(clock.serverMs(100), 605_100);
  assert.equal(clock.sampleCount, 1);
});

test("samples within their own error of each other are kept side by side", () => {
  const clock = new ClockEstimator();
  trip(clock, 0, 5_000, 1, 1);
  trip(clock, 100, 5_000 + DRIFT_MS_MAX, 4, 4);
  assert.equal(clock.sampleCount, 2);
  trip(clock, 200, 5_000 + 3 * DRIFT_MS_MAX, 1, 1);
  assert.equal(clock.sampleCount, 1);
});
