import assert from "node:assert/strict";
import { beforeEach, test } from "node:test";

import { PlayedLog, QUIET_MS_MAX, STRETCHES_MAX } from "../src/played_log.ts";

let log: PlayedLog;
let nowMs: number;

beforeEach(() => {
  log = new PlayedLog();
  nowMs = 1_000_000;
});

/** Plays for so long from there, looked at every 100 ms; answers where it is then. */
function plays(fromMs: number, forMs: number, rate = 1): number {
  log.sounds(fromMs, nowMs, rate);
  for (let ms = 100; ms <= forMs; ms += 100) log.sounds(fromMs + ms * rate, (nowMs += 100), rate);
  return fromMs + forMs * rate;
}

const places = (): number[][] => log.stretches().map(({ startMs, endMs }) => [startMs, endMs]);

test("what runs on is one stretch, with the times at which it ran", () => {
  plays(20_000, 5_000, 2);
  assert.deepEqual(log.stretches(), [
    { startMs: 20_000, endMs: 30_000, startedAtMs: 1_000_000, endedAtMs: 1_005_000 },
  ]);
});

test("a seek, a loop's fold and a pause cut it", () => {
  plays(20_000, 1_000);
  plays(50_000, 1_000);
  plays(45_000, 1_000);
  log.rests();
  nowMs += 5_000;
  plays(46_000, 1_000);
  assert.deepEqual(places(), [[20_000, 21_000], [50_000, 51_000], [45_000, 46_000], [46_000, 47_000]]);
});

test("a short stall is part of it, and a long one is not", () => {
  plays(20_000, 1_000);
  nowMs += 300;
  plays(21_000, 1_000);
  nowMs += 5_000;
  plays(22_000, 1_000);
  assert.deepEqual(places(), [[20_000, 22_000], [22_000, 23_000]]);
  assert.equal(log.stretches()[1]?.startedAtMs, nowMs - 1_000);
});

test("a place that was looked at once is no stretch", () => {
  log.sounds(20_000, nowMs, 1);
  assert.deepEqual(places(), []);
});

test("what the server has heard of is told no more, be it in the middle of a stretch", () => {
  plays(20_000, 1_000);
  plays(50_000, 2_000);
  log.told(nowMs - 500);
  assert.deepEqual(places(), [[51_500, 52_000]]);
  log.told(nowMs);
  assert.deepEqual(places(), []);
  plays(52_000, 1_000);
  assert.deepEqual(places(), [[52_000, 53_000]]);
});

test("after a cut what runs on is another stretch, and nothing between them is lost", () => {
  const hereMs = plays(20_000, 1_000);
  log.cut();
  log.sounds(hereMs + 100, (nowMs += 100), 1);
  assert.deepEqual(places(), [[20_000, 21_000], [21_000, 21_100]]);
});

test("somebody still listens unless the sound was to run and did not for long", () => {
  assert.equal(log.goesOn(nowMs), true);
  plays(20_000, 1_000);
  assert.deepEqual([log.goesOn(nowMs + QUIET_MS_MAX), log.goesOn(nowMs + QUIET_MS_MAX + 1)], [true, false]);
  nowMs += QUIET_MS_MAX + 1; // the machine slept
  plays(21_000, 1_000);
  assert.equal(log.goesOn(nowMs), false);
  log.told(nowMs);
  assert.equal(log.goesOn(nowMs), true);
  log.rests();
  assert.equal(log.goesOn(nowMs + QUIET_MS_MAX + 1), true, "a pause is nobody's wait");
});

test("past the most that is kept the oldest is forgotten", () => {
  for (let row = 0; row <= STRETCHES_MAX; row += 1) plays(row * 10_000, 100);
  assert.deepEqual([places().length, places()[0]], [STRETCHES_MAX, [10_000, 10_100]]);
});

test("of another script nothing is kept", () => {
  plays(20_000, 1_000);
  log.clear();
  assert.deepEqual(places(), []);
});
