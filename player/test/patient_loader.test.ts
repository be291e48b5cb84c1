/** The loader that hls.js is given, over a line that answers as a test says. */

import assert from "node:assert/strict";
import { afterEach, beforeEach, mock, test } from "node:test";

import { LoadStats, type HlsConfig, type Loader, type LoaderCallbacks, type LoaderConfiguration, type LoaderContext } from "hls.js";

import { hlsConfig } from "../src/hls_settings.ts";
import { patient, TOLD_EVERY_MS, waitMs } from "../src/patient_loader.ts";

const SEGMENT = { url: "/p/t/3.m4s", type: "media-fragment" } as unknown as LoaderContext;
const PLAYLIST = { url: "/p/t/index.m3u8", type: "level" } as unknown as LoaderContext;
const FIRST_PLAYLIST = { url: "/p/t/master.m3u8", type: "manifest" } as unknown as LoaderContext;
const POLICY = {} as LoaderConfiguration;
const JITTER_MS_MAX = 500;

/** One load of hls.js, which fetches once and then only tells. */
class Line implements Loader<LoaderContext> {
  context: LoaderContext | null = null;
  stats = new LoadStats();
  ended = false;
  #callbacks: LoaderCallbacks<LoaderContext> | null = null;
  #retryAfter: string | null = null;
  #answered = false;

  load(context: LoaderContext, _config: LoaderConfiguration, callbacks: LoaderCallbacks<LoaderContext>): void {
    assert.equal(this.stats.loading.start, 0, "one loader loads once");
    this.stats.loading.start = performance.now();
    [this.context, this.#callbacks] = [context, callbacks];
    asked.push(this);
  }

  abort(): void {
    if (!this.#answered) this.stats.aborted = true;
    this.#callbacks?.onAbort?.(this.stats, this.context as LoaderContext, null);
  }

  destroy(): void {
    this.ended = true;
  }

  getResponseHeader(name: string): string | null {
    return name === "Retry-After" ? this.#retryAfter : null;
  }

  answer(code: number, retryAfter: string | null = null): void {
    assert.ok(this.#callbacks && !this.ended);
    this.#retryAfter = retryAfter;
    this.#answered = true;
    this.stats.loading.first = performance.now();
    const context = this.context as LoaderContext;
    if (code === 200) this.#callbacks.onSuccess({ url: context.url, data: new ArrayBuffer(8), code }, this.stats, context, null);
    else this.#callbacks.onError({ code, text: "" }, context, null, this.stats);
  }
}

/** In the order in which they were asked. */
let asked: Line[];
let said: (string | number)[];
let busy: number;
let loader: Loader<LoaderContext>;
let nowMs: number;

const last = (): Line => asked.at(-1) as Line;

function pass(ms: number): void {
  nowMs += ms;
  mock.timers.tick(ms);
}

function load(context: LoaderContext): void {
  loader.load(context, POLICY, {
    onSuccess: (_response, stats) => void said.push("loaded", stats === loader.stats ? "" : "other figures"),
    onError: (error) => void said.push(error.code),
    onTimeout: () => void said.push("timeout"),
    onAbort: () => void said.push("aborted"),
  });
}

beforeEach(() => {
  mock.timers.enable({ apis: ["setTimeout"] });
  nowMs = 1_000;
  mock.method(performance, "now", () => nowMs);
  mock.method(Math, "random", () => 0.5);
  [asked, said, busy] = [[], [], 0];
  loader = new (patient(Line, () => (busy += 1)))({} as HlsConfig);
});

afterEach(() => {
  mock.restoreAll();
  mock.timers.reset();
});

test("hls.js loads by it", () => {
  assert.equal(typeof hlsConfig(() => undefined).loader, "function");
});

for (const [told, leastMs] of [["1", 1_000], ["2", 2_000], ["0", 1_000], ["3600", 30_000], [null, 1_000], ["Fri, 27 Nov 2026 16:00:00 GMT", 1_000]] as const) {
  test(`Retry-After of ${told} is a wait of ${leastMs} ms and a bit`, () => {
    assert.deepEqual([waitMs(told, 0), waitMs(told, 1)], [leastMs, leastMs + JITTER_MS_MAX]);
  });
}

for (const context of [SEGMENT, PLAYLIST]) {
  test(`${context.url} is asked for again after each Retry-After, and hls.js hears of none`, () => {
    load(context);
    for (const [index, told] of [2, 1, 1, 1, 1, 1, 1, 1, 1, 1].entries()) {
      last().answer(503, String(told));
      pass(told * 1_000);
      assert.equal(asked.length, index + 1, "not before the time");
      pass(JITTER_MS_MAX);
      assert.equal(asked.length, index + 2);
    }
    assert.deepEqual([said, busy], [[], 0]);
    last().answer(200);
    assert.deepEqual(said, ["loaded", ""]);
    assert.deepEqual(asked.map((line) => line.ended), [...Array<boolean>(10).fill(true), false]);
  });
}

for (const code of [0, 403, 404, 429, 500, 502]) {
  test(`${code} is told as it comes`, () => {
    load(SEGMENT);
    last().answer(503, "1");
    pass(2_000);
    last().answer(code, "1");
    assert.deepEqual(said, [code]);
    pass(60_000);
    assert.equal(asked.length, 2);
  });
}

test("a first playlist that is put off is told: the page asks for it again, and says so", () => {
  load(FIRST_PLAYLIST);
  last().answer(503, "1");
  assert.deepEqual(said, [503]);
});

test("a server that is busy for a minute is told of once a minute, and asked on", () => {
  load(SEGMENT);
  const minutesMs = 2 * TOLD_EVERY_MS + 5_000;
  while (nowMs < minutesMs) {
    last().answer(503, "1");
    assert.equal(busy, Math.floor((nowMs - 1_000) / TOLD_EVERY_MS));
    pass(1_250);
  }
  assert.equal(busy, 2);
  last().answer(200);
  assert.deepEqual(said, ["loaded", ""]);
});

test("what is left while it waits is not asked for any more", () => {
  load(SEGMENT);
  last().answer(503, "1");
  loader.abort();
  pass(60_000);
  assert.deepEqual([said, loader.stats.aborted, asked.length], [["aborted"], true, 1]);
  loader.destroy();
});

test("a loader that is ended while it waits asks no more, and says nothing", () => {
  load(SEGMENT);
  last().answer(503, "1");
  loader.destroy();
  pass(60_000);
  assert.deepEqual([asked.length, said, last().ended], [1, [], true]);
});

test("what is left while it is asked for is ended there", () => {
  load(SEGMENT);
  last().answer(503, "1");
  pass(2_000);
  loader.abort();
  assert.deepEqual([said, last().stats.aborted], [["aborted"], true]);
});

test("what has come after a wait was not left, though its loader is", () => {
  load(SEGMENT);
  last().answer(503, "1");
  pass(2_000);
  last().answer(200);
  loader.abort();
  assert.equal(loader.stats.aborted, false);
});

test("no time counts as the line's but that between a request and its own answer", () => {
  const sinceBeginMs = (): number => nowMs - loader.stats.loading.start;
  load(SEGMENT);
  pass(4_000);
  assert.equal(sinceBeginMs(), 0, "the server makes it wait");
  last().answer(503, "1");
  pass(1_000);
  assert.equal(sinceBeginMs(), 0, "it waits by itself");
  pass(250);
  pass(300);
  last().answer(200);
  const { start, first } = loader.stats.loading;
  assert.equal(first - start, 300, "of the second request");
});
