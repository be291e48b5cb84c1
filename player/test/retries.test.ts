import assert from "node:assert/strict";
import { test } from "node:test";

import { Retries } from "../src/retries.ts";

/** The waits up to the one that is none. */
function waits(retries: Retries, hopeless: boolean): number[] {
  const found: number[] = [];
  for (let ms = retries.next(hopeless); ms !== null; ms = retries.next(hopeless)) found.push(ms);
  return found;
}

test("the first retry is at once, the next ones wait longer, and after a minute there are no more", () => {
  const found = waits(new Retries(), false);
  assert.deepEqual(found.slice(0, 5), [0, 1_000, 2_000, 2_000, 2_000]);
  assert.equal(found.reduce((sum, ms) => sum + ms), 61_000);
});

test("media that cannot be decoded are tried once more", () => {
  assert.deepEqual(waits(new Retries(), true), [0]);
});

test("who has given up begins anew, and so does who has heard something", () => {
  const retries = new Retries();
  const all = waits(retries, false).length;
  assert.equal(waits(retries, false).length, all);
  for (let times = 0; times < 5; times += 1) retries.next(false);
  retries.reset();
  assert.equal(retries.next(false), 0);
});

test("the listener is told once, at the fourth failure", () => {
  const retries = new Retries();
  const told = Array.from({ length: 10 }, () => {
    retries.next(false);
    return retries.telling;
  });
  assert.deepEqual(told.map((telling, index) => (telling ? index : null)).filter((index) => index !== null), [3]);
});
