import assert from "node:assert/strict";
import { test } from "node:test";

import { wordsOf } from "../src/history_words.ts";
import type { HistoryEntry } from "../src/wire.ts";

const DEVICES = [{ id: "d1", name: "Phone", kind: "phone", connected_at: 1 }];

function entry(fields: Partial<HistoryEntry> = {}): HistoryEntry {
  const place = { from: 1, to: 2, restores: 1 };
  return { entry_id: "7-1", kind: "move", cause: "seek", ...place, device_id: "d1", at: "2026-11-23T03:11:00Z", ...fields };
}

test("an entry says what became of the place, on which device and when", () => {
  assert.equal(wordsOf(entry(), DEVICES, "3:11"), "Left by a jump · Phone · 3:11");
  assert.equal(wordsOf(entry({ cause: "transfer" }), DEVICES, "3:11"), "Sound moved away · Phone · 3:11");
});

test("a device that is away has no name, and a cause of a newer server some words", () => {
  assert.equal(wordsOf(entry({ device_id: "gone" }), DEVICES, "3:11"), "Left by a jump · 3:11");
  assert.equal(wordsOf(entry({ device_id: null, cause: "teleport" }), DEVICES, "3:11"), "Left by a change · 3:11");
});

test("a refused place says that it was not taken", () => {
  assert.equal(wordsOf(entry({ kind: "conflict", cause: "conflict" }), DEVICES, "3:11"), "Reported, not taken · Phone · 3:11");
});
