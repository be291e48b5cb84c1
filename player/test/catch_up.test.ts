/** What is told of a sound that went on without a line, by a line whose answers each test writes down. */

import assert from "node:assert/strict";
import { afterEach, beforeEach, mock, test } from "node:test";

import { CatchUp, STRETCHES_PER_BATCH, type Ask } from "../src/catch_up.ts";
import { QUIET_MS_MAX } from "../src/played_log.ts";
import type { JoinAck, State } from "../src/wire.ts";
import { aState, NOW_MS } from "./states.ts";

const HERE = "device-1";
const LOOK_MS = 100;

type Payload = Record<string, unknown>;
type Answer = (payload: Payload) => unknown;

let nowMs: number;
let placeMs: number;
let sounding: boolean;
let moving: boolean;
let held: State | null;
let sent: { event: string; payload: Payload }[];
let answers: Record<string, Answer>;
let problems: string[];
let catchUp: CatchUp;

beforeEach(() => {
  [nowMs, placeMs, sounding, moving] = [NOW_MS, 20_000, true, true];
  held = live({ position: 20 });
  [sent, problems] = [[], []];
  answers = {
    offline: ({ position }) => accepted({ revision: 5, position: position as number, playing: false }),
    play: ({ position }) => accepted({ revision: 6, position: position as number }),
  };
  catchUp = new CatchUp({
    deviceId: HERE,
    activeState: () => (held?.active_device === HERE ? held : null),
    placeMs: () => placeMs,
    sounding: () => sounding,
    moving: () => moving,
    rate: () => 1,
    serverMs: () => nowMs,
    rttMs: () => 80,
    problem: (message) => problems.push(message),
  });
});

afterEach(() => mock.timers.reset());

const live = (fields: Partial<State> = {}): State => aState({ anchored_at: nowMs, duration: 600, ...fields });
const accepted = (fields: Partial<State>): object => ({ ok: true, state: live(fields), server_time: nowMs });
const refused = (code: string, more: object = {}): object => ({ ok: false, error: { code, message: code, retry: false, ...more } });
const snapshot = (state: State | null): JoinAck => ({
  ok: true, state, place: null, devices: [], devices_order: { epoch: 1, version: 1 }, server_time: nowMs,
});
const ask: Ask = async (event, payload) => {
  sent.push({ event, payload: payload as Payload });
  return (answers[event] as Answer)(payload as Payload) as never;
};
const events = (): string[] => sent.map(({ event }) => event);
/** The server has stopped it where it was last heard of. */
const stopped = (fields: Partial<State> = {}): State => live({ revision: 2, position: 20, playing: false, cause: null, ...fields });

/** So much time passes, and as much of the sound. */
function plays(forMs: number): void {
  for (let ms = 0; ms < forMs; ms += LOOK_MS) {
    catchUp.look();
    nowMs += LOOK_MS;
    if (sounding && moving) placeMs += LOOK_MS;
  }
  catchUp.look();
}

/** The sound goes on for half a minute without a line. */
function playsAlone(): void {
  plays(1_000);
  catchUp.lost();
  plays(30_000);
}

const tell = (state: State | null): Promise<JoinAck | null> | null => catchUp.tell(snapshot(state), ask);

test("what was heard without a line is told, and the sound goes on where it is", async () => {
  playsAlone();
  const taken = await tell(stopped());
  assert.deepEqual(events(), ["offline", "play"]);
  const [offline, play] = sent.map(({ payload }) => payload) as [Payload, Payload];
  const { command_id: commandId, ...told } = offline;
  assert.equal(typeof commandId, "string");
  assert.deepEqual(told, {
    script_id: "script-1",
    position: 51,
    intervals: [{ start: 20, end: 51, started_at: NOW_MS, ended_at: NOW_MS + 31_000 }],
    base: { session_id: "session-1", epoch: 1, revision: 1 },
  });
  assert.deepEqual([play["session_id"], play["device_id"], play["position"]], ["session-1", HERE, 51.04]);
  assert.deepEqual([taken?.state?.revision, taken?.state?.playing, taken?.state?.cause?.command], [6, true, "progress"]);
  assert.equal(tell(taken?.state ?? null), null, "once");
});

test("what the server has heard of by reports is not told again", async () => {
  plays(10_000);
  catchUp.reported(nowMs);
  catchUp.lost();
  plays(5_000);
  await tell(stopped());
  assert.deepEqual(sent[0]?.payload["intervals"], [
    { start: 30, end: 35, started_at: NOW_MS + 10_000, ended_at: NOW_MS + 15_000 },
  ]);
});

test("a report that is answered in the middle of a stretch leaves the rest, with a time in whole ms", async () => {
  plays(10_000);
  catchUp.reported(nowMs - 50.4);
  catchUp.lost();
  plays(5_000);
  await tell(stopped());
  assert.deepEqual(sent[0]?.payload["intervals"], [
    { start: 29.95, end: 35, started_at: NOW_MS + 9_950, ended_at: NOW_MS + 15_000 },
  ]);
});

test("what is told lies within the script, though the media end later", async () => {
  held = live({ position: 20, duration: 50.001 });
  playsAlone();
  await tell(stopped());
  assert.deepEqual([sent[0]?.payload["position"], (sent[0]?.payload["intervals"] as { end: number }[])[0]?.end], [50.001, 50.001]);
});

test("a session that runs on as before is told nothing: reports do", () => {
  plays(1_000);
  catchUp.lost();
  plays(3_000);
  moving = false; // it has stalled, and is behind the playhead
  plays(4_000);
  assert.equal(tell(held), null);
  plays(1_000);
  assert.equal(tell(stopped()), null, "and it is on the line again");
});

test("nothing is told of a line that was not lost, nor where another device sounds", () => {
  plays(5_000);
  assert.equal(tell(stopped()), null);
  held = live({ active_device: "device-2" });
  catchUp.lost();
  plays(5_000);
  assert.equal(tell(stopped()), null);
});

test("what was paused on the line is not told once more", () => {
  plays(5_000);
  sounding = false;
  held = live({ revision: 2, position: 25, playing: false });
  plays(1_000);
  catchUp.lost();
  plays(1_000);
  assert.equal(tell(held), null);
});

test("where others have moved the playhead it stays there, and the listener is told", async () => {
  playsAlone();
  const theirs = live({ revision: 4, position: 300, active_device: "device-2" });
  answers["offline"] = () => refused("conflict", { state: theirs, reported: 51 });
  const taken = await tell(theirs);
  assert.deepEqual([events(), taken?.state, problems.length], [["offline"], theirs, 1]);
});

for (const [what, does] of [
  ["was paused meanwhile", () => void (sounding = false)],
  ["was to end by then", () => undefined],
] as const) {
  test(`what ${what} does not go on`, async () => {
    held = live({ position: 20, sleep_at: what.includes("end") ? nowMs + 20_000 : null });
    playsAlone();
    does();
    const taken = await tell(stopped());
    assert.deepEqual([events(), taken?.state?.playing], [["offline"], false]);
  });
}

test("what nobody waits for any more does not begin to sound again", async () => {
  playsAlone();
  nowMs += QUIET_MS_MAX + LOOK_MS; // the lid was closed
  plays(1_000);
  const taken = await tell(stopped());
  assert.deepEqual([events(), taken?.state?.playing], [["offline"], false]);
});

test("a session that has ended meanwhile is told as well, and its place is taken", async () => {
  playsAlone();
  const taken = await tell(null);
  assert.deepEqual([events(), taken?.state?.revision, taken?.place], [["offline", "play"], 6, null]);
});

test("many stretches are told in batches, each on what the one before has left", async () => {
  plays(1_000);
  catchUp.lost();
  for (let jump = 0; jump < STRETCHES_PER_BATCH; jump += 1) {
    placeMs = 30_000 + jump * 5_000;
    plays(200);
  }
  let revision = 1;
  answers["offline"] = ({ position }) => accepted({ revision: (revision += 1), position: position as number, playing: false });
  await tell(stopped());
  const batches = sent.filter(({ event }) => event === "offline").map(({ payload }) => payload);
  assert.deepEqual(batches.map(({ intervals }) => (intervals as unknown[]).length), [STRETCHES_PER_BATCH, 1]);
  assert.deepEqual(batches.map(({ base }) => (base as State).revision), [1, 2]);
  const lastOfFirst = (batches[0]?.["intervals"] as { end: number }[]).at(-1)?.end;
  assert.deepEqual(batches.map(({ position }) => position), [lastOfFirst, placeMs / 1000]);
});

test("a line that is lost again is told all of it the next time, under the same times", async () => {
  playsAlone();
  answers["offline"] = () => null;
  assert.equal(await tell(stopped()), null);
  const first = (sent[0]?.payload["intervals"] as unknown[])[0];
  answers["offline"] = () => accepted({ revision: 5, position: 53, playing: false });
  catchUp.lost();
  plays(2_000);
  await tell(stopped());
  const intervals = sent[1]?.payload["intervals"] as { start: number; end: number }[];
  assert.deepEqual([intervals[0], intervals[1]?.start, intervals[1]?.end], [first, 51, 53]);
});

test("where the line is lost after the telling, only the rest is told, on the state that it has left", async () => {
  playsAlone();
  answers["play"] = () => null;
  assert.equal(await tell(stopped()), null);
  plays(2_000);
  sent = [];
  answers["play"] = ({ position }) => accepted({ revision: 8, position: position as number });
  await tell(stopped({ revision: 5, position: 51 }));
  assert.deepEqual(events(), ["offline", "play"]);
  assert.equal((sent[0]?.payload["base"] as State).revision, 5);
  assert.equal((sent[0]?.payload["intervals"] as { start: number }[])[0]?.start, 51);
});

test("a refusal that will pass is waited for", async () => {
  mock.timers.enable({ apis: ["setTimeout"] });
  playsAlone();
  const offline = answers["offline"] as Answer;
  answers["offline"] = (payload) =>
    events().length > 1 ? offline(payload) : refused("overloaded", { retry: true, retry_after_ms: 3_000 });
  const taken = tell(stopped());
  for (const passMs of [2_900, 100]) {
    await new Promise((resolve) => setImmediate(resolve));
    assert.deepEqual(events(), ["offline"]);
    mock.timers.tick(passMs);
  }
  assert.equal((await taken)?.state?.revision, 6);
  assert.equal(sent[0]?.payload["command_id"], sent[1]?.payload["command_id"]);
});

test("a log that is not taken changes nothing, and is not told again", async () => {
  playsAlone();
  answers["offline"] = () => refused("out_of_bounds");
  const state = stopped();
  assert.deepEqual((await tell(state))?.state, state);
  catchUp.lost();
  assert.equal(tell(state), null);
});

test("what was heard of a script before another one was opened is told as well, and does not go on", async () => {
  playsAlone();
  catchUp.opened();
  held = null;
  sounding = false;
  const taken = await tell(null);
  assert.deepEqual([events(), taken?.state, sent[0]?.payload["position"]], [["offline"], null, 51]);
  assert.equal(tell(null), null);
  playsAlone();
  catchUp.forget();
  assert.equal(tell(null), null);
});
