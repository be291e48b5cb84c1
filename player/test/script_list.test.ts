import assert from "node:assert/strict";
import { test } from "node:test";

import { ScriptList } from "../src/script_list.ts";
import type { Script } from "../src/wire.ts";

const scripts = (...ids: string[]): Script[] => ids.map((script_id) => ({ script_id, status: "queued" }) as Script);
const ids = (list: ScriptList): string[] => list.scripts.map(({ script_id }) => script_id);

test("what was loaded beyond the first page stays when that is asked for anew, though nothing is left beyond", () => {
  const list = new ScriptList();
  list.refresh({ scripts: scripts("a", "b"), next_cursor: "after b" });
  list.append({ scripts: scripts("c"), next_cursor: null });
  list.refresh({ scripts: scripts("new", "a"), next_cursor: "after a" });
  assert.deepEqual([ids(list), list.cursor], [["new", "a", "b", "c"], null]);
});

test("while only the first page is loaded the list is that page", () => {
  const list = new ScriptList();
  list.refresh({ scripts: scripts("a", "b"), next_cursor: "after b" });
  list.refresh({ scripts: scripts("new", "a"), next_cursor: "after a" });
  assert.deepEqual([ids(list), list.cursor], [["new", "a"], "after a"]);
});

test("a script that has moved to the next page meanwhile is there once", () => {
  const list = new ScriptList();
  list.refresh({ scripts: scripts("a", "b"), next_cursor: "after b" });
  list.append({ scripts: scripts("b", "c"), next_cursor: "after c" });
  assert.deepEqual([ids(list), list.cursor], [["a", "b", "c"], "after c"]);
});

test("a script that has come further is shown so", () => {
  const list = new ScriptList();
  list.refresh({ scripts: scripts("a", "b"), next_cursor: null });
  list.prepared({ script_id: "b", status: "processing", progress: 0.5 });
  const further = list.scripts.map(({ status, progress }) => [status, progress]);
  assert.deepEqual(further, [["queued", undefined], ["processing", 0.5]]);
});
