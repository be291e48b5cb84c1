import assert from "node:assert/strict";
import { afterEach, beforeEach, mock, test } from "node:test";

import { Refusal } from "../src/refusal.ts";
import { ASK_EVERY_MS, WantedScript } from "../src/wanted_script.ts";
import type { Script } from "../src/wire.ts";

const settled = (): Promise<void> => new Promise((done) => setImmediate(done));
const no = { code: "no", message: "No." };
const refuse = (retry: boolean) => (): Promise<Script> => Promise.reject(new Refusal({ ...no, retry }));
const answer = (scriptId: string): Promise<Script> => Promise.resolve({ script_id: scriptId } as Script);

let look: (scriptId: string) => Promise<Script>;
let asked: string[];
let found: string[];
let problems: string[];
let wanted: WantedScript;

beforeEach(() => {
  mock.timers.enable({ apis: ["setTimeout"] });
  [asked, found, problems] = [[], [], []];
  const ask = (scriptId: string): Promise<Script> => (asked.push(scriptId), look(scriptId));
  wanted = new WantedScript(ask, {
    found: (script) => found.push(script.script_id),
    problem: (message) => problems.push(message),
  });
});

afterEach(() => mock.timers.reset());

test("what is wanted is asked for until the server answers, and the trouble is told once", async () => {
  look = refuse(true);
  wanted.want("script-51");
  for (const expected of [1, 2]) {
    await settled();
    assert.equal(asked.length, expected);
    if (expected === 2) look = answer;
    mock.timers.tick(ASK_EVERY_MS);
  }
  await settled();
  mock.timers.tick(ASK_EVERY_MS);
  assert.deepEqual([asked.length, found, problems], [3, ["script-51"], ["No."]]);
});

test("what there is not is asked for once", async () => {
  look = refuse(false);
  wanted.want("script-51");
  await settled();
  mock.timers.tick(ASK_EVERY_MS);
  assert.deepEqual([asked.length, found, problems], [1, [], ["No."]]);
});

test("what is wanted no longer is neither opened nor asked for again", async () => {
  look = answer;
  wanted.want("script-51");
  wanted.want("script-52");
  await settled();
  look = refuse(true);
  wanted.want("script-53");
  await settled();
  wanted.forget();
  mock.timers.tick(ASK_EVERY_MS);
  assert.deepEqual([asked, found], [["script-51", "script-52", "script-53"], ["script-52"]]);
});

test("what is wanted twice is asked for once", async () => {
  look = answer;
  wanted.want("script-51");
  wanted.want("script-51");
  await settled();
  assert.deepEqual([asked.length, found], [1, ["script-51"]]);
});
