/** The next segment is fetched before it is asked for. Every test has segments of its own, and leaves those behind them alone. */

import assert from "node:assert/strict";
import { after, afterEach, before, test } from "node:test";

import type { Miniflare } from "miniflare";

import { Ahead, LOOKED_KEPT_MS, LOOKED_MAX } from "../src/ahead.ts";
import { type MediaPath, parseMediaPath } from "../src/paths.ts";
import { endWorker, Origin, Passage, startWorker, until } from "./support/edge.ts";

const STORED = "playhead-edge; fwd=uri-miss; fwd-status=200; stored";
const COLLAPSED = "playhead-edge; fwd=uri-miss; fwd-status=200; collapsed";
const HIT = "playhead-edge; hit";
const NOT_READY = {
  status: 503,
  headers: { "Content-Type": "application/problem+json", "Retry-After": "1" },
  body: '{"code":"segment_not_ready"}',
};
let origin: Origin;
let passage: Passage;
let bindings: Record<string, string>;
let worker: Miniflare;
let edge: URL;
/** Of the script, whose last one is short. */
let segments: number;

before(async () => {
  origin = await Origin.start();
  passage = new Passage(origin.about.url);
  // the origin does not know the first of the keys, as while keys are rotated
  const { keys, third_key: third } = origin.about;
  bindings = { ORIGIN_URL: await passage.open(), MEDIA_KEYS: JSON.stringify({ third, ...keys }) };
  ({ worker, url: edge } = await startWorker("worker", bindings));
  const playlist = await fetch(`${origin.about.url}${origin.about.signed.good}low/index.m3u8`);
  segments = (await playlist.text()).match(/\.m4s$/gm)?.length ?? 0;
});

after(async () => {
  await endWorker(worker);
  await passage?.close();
  await origin?.stop();
});

afterEach(() => {
  passage.gate = Promise.resolve();
  passage.concerns = () => true;
  passage.refusal = null;
  passage.away = false;
});

type Signed = keyof Origin["about"]["signed"];

async function ask(tail: string, signed: Signed = "good", init: RequestInit = {}, at: URL = edge): Promise<Answered> {
  const answer = await fetch(new URL(origin.about.signed[signed] + tail, at), init);
  const body = Buffer.from(await answer.arrayBuffer());
  return { status: answer.status, how: answer.headers.get("Cache-Status"), body };
}

interface Answered {
  readonly status: number;
  readonly how: string | null;
  readonly body: Buffer;
}

async function seen(tail: string): Promise<void> {
  await until(`${tail} is fetched`, () => passage.times(tail) > 0);
}

function keyOf(tail: string): string {
  return `https://${edge.host}${origin.about.signed.good.replace(/^\/p\/[^/]+/, "")}${tail}`;
}

async function kept(tail: string): Promise<void> {
  const caches = await worker.getCaches();
  await until(`${tail} is kept`, async () => (await caches.default.match(keyOf(tail))) !== undefined);
}

/** Holds back what the origin says of `tail`, and of nothing else, until the function that it answers is called. */
function hold(tail: string): () => void {
  let open = (): void => undefined;
  passage.concerns = (url) => url.endsWith(`/${tail}`);
  passage.gate = new Promise((resolve) => (open = resolve));
  return open;
}

/** Ten others ask for it, while it is under way. */
async function joined(tail: string, open: () => void): Promise<Answered[]> {
  const waiting = Array.from({ length: 10 }, () => ask(tail));
  await new Promise((resolve) => setTimeout(resolve, 100));
  open();
  return Promise.all(waiting);
}

test("who hears on finds the next segment there, and so on; the first alone is waited for", async () => {
  assert.equal((await ask("low/0.m4s")).how, STORED);
  for (const next of [1, 2]) {
    await kept(`low/${next}.m4s`);
    const { how, body } = await ask(`low/${next}.m4s`, next === 1 ? "good" : "other");
    assert.equal(how, HIT);
    const there = await fetch(`${origin.about.url}${origin.about.signed.good}low/${next}.m4s`);
    assert.deepEqual(body, Buffer.from(await there.arrayBuffer()));
  }
  await seen("low/3.m4s");
  assert.deepEqual([0, 1, 2, 3, 4].map((number) => passage.times(`low/${number}.m4s`)), [1, 1, 1, 1, 0]);
  assert.ok(passage.asked.every((line) => !line.endsWith("low/1.m4s") || line.includes(origin.about.signed.good)));
});

test("a segment is answered before the next one has come; who asks for that meanwhile waits with it", async () => {
  const open = hold("low/7.m4s");
  assert.equal((await ask("low/6.m4s")).how, STORED);
  await seen("low/7.m4s");
  const answers = await joined("low/7.m4s", open);
  assert.deepEqual([...new Set(answers.map(({ status }) => status))], [200]);
  assert.ok(answers.some(({ how }) => how === COLLAPSED));
  assert.ok(answers.every(({ how }) => how === COLLAPSED || how === HIT), "a late one finds it kept");
  assert.equal(passage.times("low/7.m4s"), 1);
});

test("where no playlist has told the end, the origin's 404 is dropped, and asked for once", async () => {
  const fresh = await startWorker("worker", bindings);
  const [last, beyond] = [`high/${segments - 1}.m4s`, `high/${segments}.m4s`];
  try {
    assert.equal((await ask(last, "good", {}, fresh.url)).how, STORED);
    await seen(beyond);
    assert.equal((await ask(last, "good", {}, fresh.url)).how, HIT);
    assert.equal((await ask("high/4.m4s", "good", {}, fresh.url)).status, 200);
    await seen("high/5.m4s");
    assert.equal(passage.times(beyond), 1);
    assert.equal((await ask(beyond, "good", {}, fresh.url)).status, 404);
    assert.equal(passage.times(beyond), 2, "nothing of it is kept");
  } finally {
    await endWorker(fresh.worker);
  }
});

test("nothing but a segment that was answered has the next one fetched", async () => {
  await ask("low/9.m4s");
  await kept("low/10.m4s");
  passage.concerns = (url) => url.endsWith("/low/15.m4s");
  passage.refusal = NOT_READY;
  const asked: [string, number, Signed?, RequestInit?][] = [
    ["low/10.m4s", 200, "good", { method: "HEAD" }],
    ["low/10.m4s", 304, "good", { headers: { "If-None-Match": "*" } }],
    ["low/10.m4s", 416, "good", { headers: { Range: "bytes=99999999-" } }],
    ["low/10.m4s", 403, "expired"],
    ["low/13.m4s", 200, "good", { method: "HEAD" }],
    ["low/15.m4s", 503],
    ["low/9999.m4s", 404],
    ["low/9999.m4s", 404, "good", { headers: { Range: "bytes=0-9" } }],
    ["high/init.mp4", 200],
    ["grid.json", 200],
    ["master.m3u8", 200],
    ["high/index.m3u8", 200],
  ];
  for (const [tail, status, signed, init] of asked) {
    assert.equal((await ask(tail, signed, init)).status, status, `${tail} ${JSON.stringify(init)}`);
  }
  assert.equal((await ask("low/17.m4s")).status, 200);
  await seen("low/18.m4s");
  for (const tail of ["low/11.m4s", "low/14.m4s", "low/16.m4s", "low/10000.m4s", "high/0.m4s", "high/1.m4s"]) {
    assert.equal(passage.times(tail), 0, tail);
  }
});

test("nothing is fetched past the end, where a playlist has told it", async () => {
  assert.equal((await ask("medium/index.m3u8")).status, 200);
  assert.equal((await ask(`medium/${segments - 1}.m4s`)).status, 200);
  assert.equal((await ask("medium/4.m4s")).status, 200);
  await seen("medium/5.m4s");
  assert.equal(passage.times(`medium/${segments}.m4s`), 0);
});

test("a range counts as its segment: the whole of both is kept", async () => {
  assert.equal((await ask("medium/8.m4s", "good", { headers: { Range: "bytes=0-9" } })).status, 206);
  await kept("medium/9.m4s");
  for (const tail of ["medium/8.m4s", "medium/9.m4s"]) assert.equal((await ask(tail)).how, HIT);
});

test("where the next one cannot be had nothing is kept, and its listener's own ask is answered", async () => {
  for (const [first, next, fail] of [
    ["medium/12.m4s", "medium/13.m4s", () => (passage.refusal = NOT_READY)],
    ["high/8.m4s", "high/9.m4s", () => (passage.away = true)],
  ] as const) {
    passage.concerns = (url) => url.endsWith(next);
    fail();
    assert.equal((await ask(first)).how, STORED);
    await seen(next);
    passage.refusal = null;
    passage.away = false;
    assert.deepEqual([(await ask(next)).how, passage.times(next)], [STORED, 2], next);
    await kept(next);
  }
});

test("a 503 of a fetch ahead is for nobody who joined it: one of them asks, for all", async () => {
  passage.refusal = NOT_READY;
  const open = hold("high/1.m4s");
  assert.equal((await ask("high/0.m4s", "other")).how, STORED);
  await seen("high/1.m4s");
  passage.refusal = null;
  const answers = await joined("high/1.m4s", open);
  const ways = answers.map(({ how }) => how);
  assert.equal(ways.filter((how) => how === STORED).length, 1);
  assert.ok(ways.includes(COLLAPSED) && ways.every((how) => how !== null && [COLLAPSED, STORED, HIT].includes(how)));
  assert.equal(passage.times("high/1.m4s"), 2);
});

test("a 403 of a fetch ahead is for nobody who joined it", async () => {
  await ask("medium/16.m4s");
  await kept("medium/17.m4s");
  const open = hold("medium/18.m4s");
  assert.equal((await ask("medium/17.m4s", "third_key")).how, HIT);
  await seen("medium/18.m4s");
  assert.ok(passage.asked.includes(`GET ${origin.about.signed.third_key}medium/18.m4s`), "by the listener's own token");
  for (const { status } of await joined("medium/18.m4s", open)) assert.equal(status, 200);
  assert.equal(passage.times("medium/18.m4s"), 2);
});

test("however many hear a segment, the next one is looked for once in a while, also when it could not be had", async () => {
  passage.concerns = (url) => url.endsWith("/high/13.m4s");
  passage.refusal = NOT_READY;
  await ask("high/12.m4s");
  await seen("high/13.m4s");
  passage.refusal = null;
  await kept("high/12.m4s");
  for (let count = 0; count < 5; count += 1) assert.equal((await ask("high/12.m4s", "other")).how, HIT);
  await ask("high/16.m4s");
  await seen("high/17.m4s");
  assert.equal(passage.times("high/13.m4s"), 1);
});

function segment(number: number, token = "a"): MediaPath {
  const path = `/p/${token}/t/01234567-89ab-cdef-0123-456789abcdef/0123456789abcdef/low/${number}.m4s`;
  const parsed = parseMediaPath(path);
  assert.ok(parsed !== null, path);
  return parsed;
}

test("the next one is looked for again after a minute, and for each host", () => {
  const ahead = new Ahead();
  const after = (number: number, nowMs: number, host = "a", token = "a"): string[] =>
    ahead.after(segment(number, token), host, nowMs).map((next) => `${next.token} ${next.segment} ${next.path.slice(-8)}`);
  assert.deepEqual(after(9, 0), ["a 10 w/10.m4s"]);
  assert.deepEqual(after(9, LOOKED_KEPT_MS - 1, "a", "b"), []);
  assert.deepEqual(after(9, LOOKED_KEPT_MS - 1, "b"), ["a 10 w/10.m4s"]);
  assert.deepEqual(after(9, LOOKED_KEPT_MS, "a", "b"), ["b 10 w/10.m4s"]);
  assert.deepEqual(after(20, LOOKED_KEPT_MS), ["a 21 w/21.m4s"]);
  assert.deepEqual(after(19, 2 * LOOKED_KEPT_MS - 1), [], "20 was answered a moment ago");
  assert.deepEqual(after(19, 2 * LOOKED_KEPT_MS), ["a 20 w/20.m4s"]);
});

test("the end of a script is the last segment that is fetched ahead", () => {
  const ahead = new Ahead();
  ahead.learn(segment(0).base, 7);
  assert.equal(ahead.after(segment(4), "a", 0).length, 1);
  assert.equal(ahead.after(segment(5), "a", 0).length, 1);
  assert.deepEqual(ahead.after(segment(6), "a", 0), []);
});

test("what was looked for is remembered of so many segments", () => {
  for (const [others, looked] of [
    [LOOKED_MAX - 2, 0],
    [LOOKED_MAX - 1, 1],
  ] as const) {
    const ahead = new Ahead();
    ahead.learn(segment(0).base, 10);
    ahead.after(segment(0), "a", 0);
    for (let other = 0; other < others; other += 1) ahead.after(segment(9), `other ${other}`, 0);
    assert.equal(ahead.after(segment(0), "a", 1).length, looked, String(others));
  }
});
