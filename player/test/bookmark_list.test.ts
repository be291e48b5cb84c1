import assert from "node:assert/strict";
import { test } from "node:test";

import { BookmarkList } from "../src/bookmark_list.ts";
import type { Bookmark } from "../src/wire.ts";

function bookmark(id: string, fields: Partial<Bookmark> = {}): Bookmark {
  const made = "2026-01-01T00:00:00Z";
  const nothing = { script_id: "script-1", title: null, note: null, created_at: made, updated_at: made };
  return { bookmark_id: id, position: 1, ...nothing, ...fields };
}

function filled(...bookmarks: Bookmark[]): BookmarkList {
  const list = new BookmarkList();
  list.fill(bookmarks);
  return list;
}

test("what another device made is there, in its place", () => {
  const list = filled(bookmark("a", { position: 5 }), bookmark("b", { position: 9 }));
  list.apply({ action: "created", bookmark: bookmark("c", { position: 7 }) });
  assert.deepEqual(list.sorted.map(({ bookmark_id }) => bookmark_id), ["a", "c", "b"]);
});

test("what was made here and is told as well is there once", () => {
  const list = filled(bookmark("a"));
  list.apply({ action: "created", bookmark: bookmark("a") });
  assert.equal(list.sorted.length, 1);
});

test("of two changes the later one holds, in whatever order they come", () => {
  const list = filled(bookmark("a"));
  list.apply({ action: "changed", bookmark: bookmark("a", { title: "later", updated_at: "2026-01-01T00:00:02Z" }) });
  list.apply({ action: "changed", bookmark: bookmark("a", { title: "earlier", updated_at: "2026-01-01T00:00:01.5Z" }) });
  assert.equal(list.sorted[0]?.title, "later");
});

test("what was deleted does not come back with a change that was late", () => {
  const list = filled(bookmark("a"), bookmark("b"));
  list.apply({ action: "deleted", bookmark: bookmark("a") });
  list.apply({ action: "changed", bookmark: bookmark("a", { updated_at: "2026-01-01T00:00:09Z" }) });
  assert.deepEqual(list.sorted.map(({ bookmark_id }) => bookmark_id), ["b"]);
});

test("what is told while a list is on its way is not lost to it, and what was told before is the list's", () => {
  const list = filled(bookmark("a"), bookmark("b"));
  list.apply({ action: "created", bookmark: bookmark("c", { position: 3 }) });
  const askedAt = list.toldCount;
  list.apply({ action: "created", bookmark: bookmark("d", { position: 4 }) });
  list.apply({ action: "deleted", bookmark: bookmark("a") });
  list.fill([bookmark("a"), bookmark("b")], askedAt);
  assert.deepEqual(list.sorted.map(({ bookmark_id }) => bookmark_id), ["b", "d"]);
});

test("of two lists the one that was asked for later holds, in whatever order they come", () => {
  const list = filled();
  const first = list.toldCount;
  list.apply({ action: "created", bookmark: bookmark("a") });
  list.fill([bookmark("a"), bookmark("b", { position: 2 })], list.toldCount);
  list.fill([], first);
  assert.deepEqual(list.sorted.map(({ bookmark_id }) => bookmark_id), ["a", "b"]);
});
