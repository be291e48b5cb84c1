import assert from "node:assert/strict";
import { test } from "node:test";

import { SeekQueue } from "../src/seek_queue.ts";

const settled = (): Promise<void> => new Promise((done) => setImmediate(done));

test("while a seek is under way only the newest wish is kept", async () => {
  const sought: number[] = [];
  let answer: () => void = () => undefined;
  const queue = new SeekQueue((toMs) => (sought.push(toMs), new Promise((done) => (answer = done))));
  for (const toMs of [1, 2, 3]) void queue.to(toMs);
  assert.deepEqual([sought, queue.nextMs], [[1], 3]);
  answer();
  await settled();
  assert.deepEqual([sought, queue.nextMs], [[1, 3], null]);
  void queue.to(4);
  queue.forget();
  answer();
  await settled();
  assert.deepEqual(sought, [1, 3], "what was wished for another script is not done");
  void queue.to(5);
  assert.deepEqual(sought, [1, 3, 5]);
});
