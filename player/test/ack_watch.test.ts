import assert from "node:assert/strict";
import { afterEach, beforeEach, mock, test } from "node:test";

import { ACK_TIMEOUT_MS, AckWatch } from "../src/ack_watch.ts";

let watch: AckWatch;

beforeEach(() => {
  mock.timers.enable({ apis: ["setTimeout"] });
  watch = new AckWatch();
});

afterEach(() => mock.timers.reset());

async function later(ms: number): Promise<void> {
  mock.timers.tick(ms);
  for (let turn = 0; turn < 10; turn += 1) await Promise.resolve();
}

test("an answer that does not come is overdue after its time", async () => {
  let overdue = false;
  watch.within(new Promise(() => undefined)).catch(() => (overdue = true));
  await later(ACK_TIMEOUT_MS - 1);
  assert.equal(overdue, false);
  await later(1);
  assert.equal(overdue, true);
});

test("who waits behind another event has as long again from that one's answer", async () => {
  let overdue = false;
  let answer: (value: string) => void = () => undefined;
  const first = watch.within(new Promise<string>((resolve) => (answer = resolve)));
  watch.within(new Promise(() => undefined)).catch(() => (overdue = true));
  await later(ACK_TIMEOUT_MS - 1_000);
  answer("slow");
  assert.equal(await first, "slow");
  await later(ACK_TIMEOUT_MS - 1);
  assert.equal(overdue, false);
  await later(1);
  assert.equal(overdue, true);
});

test("an answer of before gives no more time", async () => {
  await watch.within(Promise.resolve(null));
  await later(60_000);
  let overdue = false;
  watch.within(new Promise(() => undefined)).catch(() => (overdue = true));
  await later(ACK_TIMEOUT_MS);
  assert.equal(overdue, true);
});
