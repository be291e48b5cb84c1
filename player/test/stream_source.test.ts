import assert from "node:assert/strict";
import { afterEach, beforeEach, mock, test } from "node:test";

import type { Api } from "../src/api.ts";
import { Refusal } from "../src/refusal.ts";
import type { Sound } from "../src/sound.ts";
import { RENEW_EVERY_MS, StreamSource } from "../src/stream_source.ts";
import type { Script, State } from "../src/wire.ts";
import { aState } from "./states.ts";

const SCRIPT = { script_id: "a script" } as Script;
const refusal = (retry: boolean): Refusal => new Refusal({ code: "refused", message: "No.", retry });
const settled = (): Promise<void> => new Promise((done) => setImmediate(done));

let asked: (string | null)[];
let answers: () => Promise<unknown>;
let loaded: string | null;
let state: State | null;
let problems: string[];
let source: StreamSource;

beforeEach(() => {
  mock.timers.enable({ apis: ["setTimeout"] });
  [asked, loaded, state, problems] = [[], null, null, []];
  const api = { stream: (_id: string, version: string | null) => (asked.push(version), answers()) } as unknown as Api;
  const sound = {
    get mediaVersion() {
      return loaded;
    },
    load: (url: string) => (loaded = url),
  } as unknown as Sound;
  source = new StreamSource(api, sound, () => state, (message) => problems.push(message));
});

afterEach(() => mock.timers.reset());

test("an address that is refused again and again is asked for every two seconds, and at once the first time", () => {
  answers = () => new Promise<never>(() => undefined);
  source.open(SCRIPT);
  asked = [];
  for (const expected of [1, 2, 3]) {
    for (let times = 0; times < 5; times += 1) source.renew();
    assert.equal(asked.length, expected);
    mock.timers.tick(RENEW_EVERY_MS - 1);
    assert.equal(asked.length, expected);
    mock.timers.tick(1);
  }
  mock.timers.tick(RENEW_EVERY_MS);
  source.renew();
  assert.equal(asked.length, 5, "one that was due, and this one, at once");
});

test("what was refused for now is asked again until it is answered, and the trouble is told once", async () => {
  answers = () => Promise.reject(refusal(true));
  source.open(SCRIPT);
  for (const expected of [1, 2, 3]) {
    await settled();
    state = aState();
    source.follow();
    assert.equal(asked.length, expected, "not sooner because something changes");
    if (expected === 3) answers = () => Promise.resolve({ stream_url: state?.media_version, loudness: null });
    mock.timers.tick(RENEW_EVERY_MS);
  }
  await settled();
  mock.timers.tick(RENEW_EVERY_MS);
  assert.deepEqual([loaded, asked.length, problems], [aState().media_version, 4, ["No."]]);
});

test("a question about a script that is not open any more is not asked again", async () => {
  answers = () => Promise.reject(refusal(true));
  source.open(SCRIPT);
  await settled();
  source.open(null);
  mock.timers.tick(RENEW_EVERY_MS);
  assert.equal(asked.length, 1);
});

test("after a refusal for good it is asked again once, for the file that a session plays", async () => {
  answers = () => Promise.reject(refusal(false));
  source.open(SCRIPT);
  await settled();
  mock.timers.tick(RENEW_EVERY_MS);
  state = aState();
  for (let changes = 0; changes < 3; changes += 1) {
    source.follow();
    await settled();
  }
  assert.deepEqual(asked, [null, state.media_version]);
});

test("what is on its way is waited for before another file is asked for", async () => {
  let answer: (stream: object) => void = () => undefined;
  answers = () => new Promise((resolve) => (answer = resolve));
  source.open(SCRIPT);
  state = aState();
  source.follow();
  assert.deepEqual(asked, [null]);
  answer({ stream_url: "another file", loudness: null });
  await settled();
  assert.deepEqual([loaded, asked], ["another file", [null, state.media_version]]);
});
