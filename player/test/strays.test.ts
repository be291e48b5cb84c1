import assert from "node:assert/strict";
import { beforeEach, test } from "node:test";

import { NOT_CONNECTED, Refusal } from "../src/refusal.ts";
import { Strays } from "../src/strays.ts";
import type { State } from "../src/wire.ts";
import { aState } from "./states.ts";

const HERE = "device-1";

let states: Map<string, State>;
let sent: [string, object][];
let wanted: string | null;
let heard: boolean;
/** Whether the line is there. */
let answered: boolean;
let lists: number;
let list: () => readonly string[];
let strays: Strays;

beforeEach(() => {
  states = new Map();
  [sent, heard, answered, lists, wanted] = [[], true, true, 0, null];
  list = () => [...states.keys()];
  strays = new Strays(HERE, {
    playing: async () => ((lists += 1), list()),
    look: async (sessionId) => (answered ? (states.get(sessionId) ?? null) : undefined),
    wanted: (state) => state.session_id === wanted,
    send: async (event, payload) => (sent.push([event, payload]), heard),
  });
});

const live = (sessionId: string, fields: Partial<State> = {}): void =>
  void states.set(sessionId, aState({ session_id: sessionId, ...fields }));

test("what the page before let sound here is stopped, and what sounds elsewhere is not", async () => {
  live("session-1");
  live("session-2", { active_device: "device-2" });
  await strays.stop();
  assert.deepEqual(sent, [["pause", { session_id: "session-1" }]]);
});

test("the page before is looked for once, and again where the answer did not come", async () => {
  list = () => {
    throw new Refusal({ code: "unreachable", message: "", retry: true });
  };
  await strays.stop();
  live("session-1");
  list = () => ["session-1"];
  for (let joins = 0; joins < 3; joins += 1) await strays.stop();
  assert.deepEqual([lists, sent.length], [2, 1]);
});

test("what was left unheard is stopped where its sound was, once the server has heard of it", async () => {
  await strays.stop();
  live("session-1");
  strays.left("session-1", 20_000);
  [answered, heard] = [false, false];
  await strays.stop();
  answered = true;
  await strays.stop();
  heard = true;
  for (let joins = 0; joins < 2; joins += 1) await strays.stop();
  const pause = ["pause", { session_id: "session-1", position: 20 }];
  assert.deepEqual(sent, [pause, pause]);
});

test("what was left unheard and rests by now is left alone", async () => {
  live("session-1", { playing: false });
  strays.left("session-1", 20_000);
  strays.left("session-2", 20_000);
  await strays.stop();
  assert.deepEqual(sent, []);
});

test("what is open here or about to be is no stray", async () => {
  live("session-1");
  wanted = "session-1";
  await strays.stop();
  assert.deepEqual(sent, []);
});

test("what sounds in unison goes on on the others", async () => {
  live("session-1", { mode: "together" });
  await strays.stop();
  assert.deepEqual(sent, [["leave", { session_id: "session-1" }]]);
});

test("an error that is no refusal is not swallowed", async () => {
  list = () => {
    throw new TypeError(NOT_CONNECTED.message);
  };
  await assert.rejects(strays.stop(), TypeError);
});
