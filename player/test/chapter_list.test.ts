import assert from "node:assert/strict";
import { test } from "node:test";

import { chapterAt, chapterTitle } from "../src/chapter_list.ts";

const CHAPTERS = [
  { position: 1.5, title: "One" },
  { position: 60, title: null },
  { position: 60, title: "Three" },
  { position: 90.25, title: "Four" },
];

test("the chapter that is heard is the last that has begun", () => {
  for (const [positionMs, index] of [
    [0, -1],
    [1_499, -1],
    [1_500, 0],
    [59_999, 0],
    [60_000, 2],
    [90_249, 2],
    [90_250, 3],
    [9_000_000, 3],
  ] as const) {
    assert.equal(chapterAt(CHAPTERS, positionMs), index, `${positionMs} ms`);
  }
  assert.equal(chapterAt([], 5_000), -1);
});

test("a chapter without a name is called by its number", () => {
  assert.deepEqual(
    CHAPTERS.map((chapter, index) => chapterTitle(chapter, index)),
    ["One", "Chapter 2", "Three", "Four"],
  );
});
