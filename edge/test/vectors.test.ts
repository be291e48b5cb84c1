import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import path from "node:path";
import { test } from "node:test";

import { BoundedMap } from "../src/bounded.ts";
import { mediaPlaylist, multivariantPlaylist, parseFacts } from "../src/playlists.ts";
import { byteRange } from "../src/ranges.ts";
import { endWorker, startWorker } from "./support/edge.ts";

declare const VECTORS: string;

interface Tokens {
  keys: Record<string, string>;
  now_s: number;
  revoked: [string, number][];
  /** The body of every 403. */
  refusal: string;
  cases: { name: string; path: string; status: number; kind?: string; detail?: string; reason?: string }[];
}

interface Answer {
  status: number;
  told?: { headers: [string, string][]; body: string };
}

function vectors<Kind>(name: string): Kind {
  return JSON.parse(readFileSync(path.join(VECTORS, name), "utf8")) as Kind;
}

test("the edge opens and refuses what the origin does, in its words", async () => {
  const { keys, now_s, revoked, refusal, cases } = vectors<Tokens>("media_tokens.json");
  assert.ok(cases.length > 80);
  const { worker, url } = await startWorker("admitting", {});
  try {
    const paths = cases.map((one) => one.path);
    const reply = await fetch(url, { method: "POST", body: JSON.stringify({ keys, now_s, revoked, paths }) });
    assert.equal(reply.status, 200, await reply.clone().text());
    const answers = (await reply.json()) as Answer[];
    const told = new Set<string>();
    for (const [index, { name, path: _path, ...expected }] of cases.entries()) {
      const { told: its, ...decided } = answers[index] as Answer;
      assert.deepEqual(decided, expected, name);
      if (expected.status !== 403) continue;
      assert.equal(its?.body, refusal, name);
      told.add(JSON.stringify(its));
    }
    assert.equal(told.size, 1, "of no two refusals one can be told from the other");
  } finally {
    await endWorker(worker);
  }
});

test("no number of endings drops what an operator has revoked", async () => {
  const { keys, now_s, revoked, cases } = vectors<Tokens>("media_tokens.json");
  const [ended, script] = ["a token of a session that has ended", "a token of a script that was taken back"].map((name) => {
    const found = cases.find((one) => one.name === name);
    assert.ok(found !== undefined);
    return found.path;
  });
  const { worker, url } = await startWorker("admitting", {});
  try {
    for (const by_operator of [[], revoked.map(([subject]) => subject)]) {
      const asked = { keys, now_s, revoked, endings: 150_000, by_operator, paths: [ended, script] };
      const reply = await fetch(url, { method: "POST", body: JSON.stringify(asked) });
      assert.equal(reply.status, 200, await reply.clone().text());
      const answers = (await reply.json()) as { status: number }[];
      const statuses = answers.map(({ status }) => status);
      assert.deepEqual(statuses, [by_operator.length > 0 ? 403 : 200, 403], "the session is one of many, or his");
    }
  } finally {
    await endWorker(worker);
  }
});

test("playlists of scripts of every length are the origin's, byte for byte", () => {
  const scripts = vectors<{ facts: string; media: string; multivariant: string }[]>("playlists.json");
  assert.ok(scripts.length > 10);
  const digest = (text: string): string => createHash("sha256").update(text).digest("hex");
  for (const { facts: text, media, multivariant } of scripts) {
    const facts = parseFacts(text);
    assert.ok(facts !== null);
    assert.deepEqual([digest(mediaPlaylist(facts)), digest(multivariantPlaylist(facts))], [media, multivariant], text);
  }
});

test("facts that are none are not believed", () => {
  const good = '{"total_samples": 1, "rungs": [{"name": "low", "bits_per_s": 64000}]}';
  assert.ok(parseFacts(good) !== null);
  for (const [from, to] of [
    ["1,", "0,"],
    ["1,", "1.5,"],
    ["1,", "1e15,"],
    ["1,", '"1",'],
    ["64000", "null"],
    ['"low"', "3"],
    ["}]}", "}]"],
    ['[{"name": "low", "bits_per_s": 64000}]', "{}"],
    ['[{"name": "low", "bits_per_s": 64000}]', "[null]"],
  ] as const) {
    assert.notEqual(good.replace(from, to), good);
    assert.equal(parseFacts(good.replace(from, to)), null, to);
  }
  assert.equal(parseFacts("null"), null);
});

test("ranges are read as the origin reads them", () => {
  const ranges: [string | null, unknown][] = [
    [null, null],
    ["bytes=0-9", [0, 10]],
    ["bytes=90-", [90, 100]],
    ["bytes=90-1000", [90, 100]],
    ["bytes=-10", [90, 100]],
    ["bytes=-1000", [0, 100]],
    [" BYTES=1-1 ", [1, 2]],
    ["bytes=100-", "beyond"],
    ["bytes=-0", "beyond"],
    ["bytes=9-8", null],
    ["bytes=-", null],
    ["bytes=0-1,3-4", null],
    ["items=0-1", null],
    ["bytes=0-1000000000000000", null],
  ];
  for (const [header, expected] of ranges) assert.deepEqual(byteRange(header, 100), expected, String(header));
});

test("a bounded map drops what was used longest ago, by count and by weight", () => {
  const map = new BoundedMap<string, string>(3, 10, (value) => value.length);
  const held = (): string[] => [..."abcdef"].filter((key) => map.get(key) !== undefined);
  for (const key of "abc") map.set(key, "xx");
  map.get("a");
  map.set("d", "xx");
  assert.deepEqual(held(), ["a", "c", "d"], "one too many");
  map.set("a", "xxxxxxx");
  assert.deepEqual(held(), ["a", "d"], "9 of 10");
  map.set("e", "xx");
  assert.deepEqual(held(), ["d", "e"], "what was read last stays");
  map.set("f", "x".repeat(11));
  assert.deepEqual(held(), [], "too heavy by itself");
  map.deleteWhere(() => true);
  map.set("a", "x".repeat(10));
  assert.deepEqual(held(), ["a"], "nothing is counted that is gone");
});
