/** One device's playback, with a line whose answers each test writes down, and an element that plays nothing. */

import assert from "node:assert/strict";
import { afterEach, beforeEach, mock, test } from "node:test";

import type { Api } from "../src/api.ts";
import { ClockEstimator } from "../src/clock.ts";
import { type Connection, localMs } from "../src/connection.ts";
import { Listening } from "../src/listening.ts";
import { NOT_CONNECTED, Refusal } from "../src/refusal.ts";
import type { JoinAck, ListedSession, Place, Script, SessionEnded, State } from "../src/wire.ts";
import { installPage, SilentAudio } from "./element.ts";
import { aState } from "./states.ts";

interface Sent {
  readonly event: string;
  readonly payload: Record<string, unknown>;
  readonly base: State | null;
  readonly pressedAtMs: number;
  /** What the server answers; after it everything that follows from it has happened. */
  answer(state: State | null): Promise<void>;
  refuse(refusal: Refusal): Promise<void>;
}

const HERE = "device-1";
const THERE = "device-2";
const settled = (): Promise<void> => new Promise((done) => setImmediate(done));

let audio: SilentAudio;
let listening: Listening;
let sent: Sent[];
let problems: string[];
let movedHere: string[];
let reports: Record<string, unknown>[];
let clock: ClockEstimator;
/** What the server lists, and how another session is than that of the open script. */
let sessions: ListedSession[];
let elsewhere: State | null;
/** There is no line. */
let away: boolean;
/** What a report is answered. */
let reportAck: Promise<unknown>;

beforeEach(() => {
  reportAck = Promise.resolve(null);
  mock.timers.enable({ apis: ["setTimeout", "setInterval"] });
  installPage();
  audio = new SilentAudio();
  [sent, problems, movedHere, reports, sessions, elsewhere] = [[], [], [], [], [], null];
  clock = new ClockEstimator();
  const api = { stream: () => new Promise(() => undefined), sessions: async () => sessions } as unknown as Api;
  listening = new Listening(HERE, audio as unknown as HTMLAudioElement, clock, api, {
    changed: () => undefined,
    problem: (message) => problems.push(message),
    movedHere: (scriptId) => movedHere.push(scriptId),
  });
  const report = async (payload: Record<string, unknown>): Promise<unknown> => (reports.push(payload), reportAck);
  away = false;
  const look = async (): Promise<State | null> => elsewhere;
  const line = { command, join: () => undefined, report, look, rttMs: 0, get away() { return away; } };
  listening.use(line as unknown as Connection);
});

afterEach(() => (mock.timers.reset(), mock.restoreAll()));

function command(
  event: string,
  payload: Record<string, unknown>,
  _id: string,
  base: State | null,
  pressedAtMs: number,
): Promise<unknown> {
  return new Promise((resolve, reject) => {
    const answer = (state: State | null): Promise<void> => (resolve({ ok: true, state, server_time: 0 }), settled());
    sent.push({ event, payload, base, pressedAtMs, answer, refuse: (refusal) => (reject(refusal), settled()) });
  });
}

function last(): Sent {
  const command = sent.at(-1);
  assert.ok(command, "nothing was sent");
  return command;
}

const script = (number: number): Script => ({ script_id: `script-${number}`, title: "", duration: 60 }) as Script;
const by = (device_id: string, command = "play"): State["cause"] => ({ command, device_id, command_id: null });
const live = (fields: Partial<State> = {}): State => aState({ anchored_at: localMs(), ...fields });
const devices = { devices: [], devices_order: { epoch: 1, version: 1 } };
const joined = (state: State | null, place: Place | null = null): void =>
  listening.joined({ ok: true, state, place, server_time: 0, ...devices } satisfies JoinAck);
const sessionEnded = (state: State): void => listening.sessionEnded(state as unknown as SessionEnded);

/** Opens the first script, of which there is a session already; it plays here. */
function openPlaying(fields: Partial<State> = {}): State {
  const state = live(fields);
  listening.open(script(1));
  joined(state);
  listening.sound.load(`https://media.example/p/token/t/script-1/${state.media_version}/master.m3u8`);
  return state;
}

test("a script whose sound somebody moves to this device is to be opened, whatever is open", () => {
  const moved = live({ session_id: "session-2", script_id: "script-2", cause: by(THERE, "transfer") });
  listening.applyState(moved);
  listening.open(script(1));
  listening.applyState({ ...moved, revision: 2 });
  assert.deepEqual(movedHere, ["script-2", "script-2"]);
});

test("another script that rests, sounds elsewhere or was moved by this device itself is not opened", () => {
  openPlaying();
  const other = { session_id: "session-2", script_id: "script-2", cause: by(THERE) };
  listening.applyState(live({ ...other, active_device: THERE }));
  listening.applyState(live({ ...other, revision: 2, playing: false }));
  listening.applyState(live({ ...other, revision: 3, cause: by(HERE) }));
  assert.deepEqual(movedHere, []);
  assert.equal(listening.elsewhere.state?.revision, 3);
});

test("a script that is left is not opened again by what is still told of it from before", async () => {
  openPlaying();
  listening.open(script(2));
  assert.deepEqual([last().event, last().payload["session_id"]], ["leave", "session-1"]);
  listening.applyState(live({ revision: 2, cause: by(THERE, "seek") }));
  await last().answer(live({ revision: 4, playing: false, cause: by(HERE, "leave") }));
  listening.applyState(live({ revision: 3, cause: by(THERE, "seek") }));
  assert.deepEqual(movedHere, []);
  listening.applyState(live({ revision: 5, cause: by(THERE, "transfer") }));
  assert.deepEqual(movedHere, ["script-1"]);
});

test("the place that was chosen before the first play counts only until there is a session", async () => {
  listening.open(script(1));
  await listening.seek(20_000);
  void listening.play();
  assert.equal(last().payload["position"], 20);
  await last().answer(live({ position: 20 }));
  joined(null, { position: 50, finished: false });
  assert.equal(listening.positionMs, 50_000);
  void listening.play();
  assert.equal("position" in last().payload, false, "the server knows better");
});

test("a session that others end leaves its place, and the next play goes on there", () => {
  openPlaying();
  const ended = live({ revision: 2, playing: false, position: 30, ended: true, cause: by(THERE, "end") });
  listening.applyState(ended);
  assert.equal(listening.ended, false, "the session is over, and the script is not");
  sessionEnded(ended);
  assert.equal(listening.positionMs, 30_000);
  void listening.play();
  assert.equal("position" in last().payload, false);
});

test("the next play of a session that is known to be over starts a new one, also before the server says that it has ended", () => {
  openPlaying();
  listening.applyState(live({ revision: 2, playing: false, position: 30, ended: true, cause: by(THERE, "end") }));
  void listening.play();
  assert.deepEqual(last().payload, { script_id: "script-1", device_id: HERE });
});

test("played to the end it stays so when the server confirms it, and the next play begins anew", () => {
  openPlaying({ playing: false, position: 60 });
  assert.equal(listening.ended, true);
  void listening.play();
  assert.equal(listening.playing, true);
  assert.ok(listening.positionMs < 1_000);
});

test("what was heard is told no further than the script goes, though the media do", async () => {
  openPlaying({ position: 59 });
  audio.readyState = 4;
  audio.dispatchEvent(new Event("loadedmetadata"));
  audio.currentTime = 60.011;
  void listening.seek(45_000);
  assert.equal(last().payload["from"], 60);
  await last().answer(live({ revision: 2, position: 45 }));
  audio.currentTime = 60.011;
  void listening.pause();
  assert.equal(last().payload["position"], 60);
});

test("a report waits for the answer of the one before, and is of the revision that came with it", async () => {
  openPlaying({ position: 20 });
  audio.readyState = 4;
  audio.dispatchEvent(new Event("loadedmetadata"));
  await settled();
  reports.length = 0;
  let answer = (_ack: unknown): void => undefined;
  reportAck = new Promise((resolve) => (answer = resolve));
  for (let times = 0; times < 3; times += 1) listening.hidden();
  assert.deepEqual(reports.map(({ revision }) => revision), [1]);
  const state = live({ revision: 2, position: 20, cause: by(HERE, "progress") });
  [reportAck] = [Promise.resolve(null), answer({ ok: true, state, server_time: 0 })];
  await settled();
  assert.deepEqual(reports.map(({ revision }) => revision), [1, 2]);
  await settled();
  listening.hidden();
  assert.equal(reports.length, 3);
});

test("a report tells the server time at which the sound was there, once the server's time is known", async () => {
  openPlaying({ position: 20 });
  audio.readyState = 4;
  audio.dispatchEvent(new Event("loadedmetadata"));
  listening.hidden();
  await settled();
  assert.equal("at" in (reports.at(-1) ?? {}), false);
  const nowMs = localMs();
  clock.add(nowMs, nowMs + 5_000, nowMs + 5_000, nowMs);
  listening.hidden();
  const { at } = reports.at(-1) ?? {};
  assert.ok(Number.isInteger(at), `${at}`);
  assert.ok(Math.abs(Number(at) - localMs() - 5_000) < 1_000, `${at}`);
});

test("where the server has only followed this sound it is not moved, but it is where somebody moves it", async () => {
  openPlaying({ position: 20 });
  audio.readyState = 4;
  audio.dispatchEvent(new Event("loadedmetadata"));
  const isAt = (placeS: number): void => assert.ok(Math.abs(audio.currentTime - placeS) < 0.03, `${audio.currentTime}`);
  listening.applyState(live({ revision: 2, position: 20.2, cause: by(HERE, "progress") }));
  isAt(20);
  void listening.seek(20_100);
  isAt(20.1);
  await last().answer(live({ revision: 3, position: 20.3, cause: by(HERE, "seek") }));
  isAt(20.3);
});

test("what was paused without a line stays silent, and the server hears of it when the line is back", async () => {
  const state = openPlaying();
  assert.equal(audio.paused, false);
  void listening.pause();
  await last().refuse(new Refusal(NOT_CONNECTED));
  assert.deepEqual([audio.paused, listening.playing, problems.length], [true, false, 1]);
  joined(state);
  assert.deepEqual([sent.map(({ event }) => event), audio.paused], [["pause", "pause"], true]);
  await last().answer(live({ revision: 2, playing: false }));
  assert.deepEqual([audio.paused, sent.length], [true, 2]);
});

test("what was paused without a line sounds again at a press, or when the server says something newer", async () => {
  openPlaying();
  for (const revision of [2, 3]) {
    void listening.pause();
    await last().refuse(new Refusal(NOT_CONNECTED));
    assert.equal(audio.paused, true);
    if (revision === 2) {
      void listening.toggle();
      assert.deepEqual([last().event, audio.paused], ["play", false]);
      await last().answer(live({ revision }));
    } else {
      listening.applyState(live({ revision, cause: by(THERE, "seek") }));
    }
    assert.deepEqual([listening.playing, audio.paused], [true, false]);
  }
});

test("presses are shown at once and sent one after the other, each on what the one before has left", async () => {
  const state = openPlaying();
  const pressed: Promise<void>[] = [listening.pause(), listening.play(), listening.controls.setRate(2)];
  assert.deepEqual([listening.playing, sent.map(({ event }) => event)], [true, ["pause"]]);
  await last().answer(live({ revision: 2, playing: false }));
  assert.deepEqual([sent.map(({ event }) => event), last().base?.revision, listening.playing], [["pause", "play"], 2, true]);
  await last().refuse(new Refusal(NOT_CONNECTED));
  assert.deepEqual([last().event, listening.state?.revision, state.revision], ["rate", 2, 1]);
  assert.ok(last().pressedAtMs <= sent[1]!.pressedAtMs + 1_000 && last().pressedAtMs >= sent[0]!.pressedAtMs);
  await last().answer(live({ revision: 3, rate: 2, playing: false }));
  await Promise.all(pressed);
  assert.equal(listening.state?.revision, 3);
});

test("a press for another script does not wait for those for the one before", async () => {
  openPlaying();
  void listening.pause();
  listening.open(script(2));
  void listening.play();
  assert.deepEqual(sent.map(({ event }) => event), ["pause", "leave", "play"]);
});

test("a pause that another device did not hear of is taken back: it sounds on there", async () => {
  openPlaying({ active_device: THERE });
  void listening.pause();
  assert.equal(listening.playing, false);
  await last().refuse(new Refusal(NOT_CONNECTED));
  assert.equal(listening.playing, true);
});

test("what cannot be played here stops where it is, instead of running on in silence", () => {
  openPlaying({ position: 20 });
  audio.error = { code: 3 };
  audio.dispatchEvent(new Event("error"));
  assert.deepEqual([sent, problems], [[], []], "another address is asked for first");
  audio.dispatchEvent(new Event("error"));
  assert.deepEqual([last().event, problems.length, audio.paused], ["pause", 1, true]);
});

test("what begins to play here after another script was opened is left", async () => {
  listening.open(script(1));
  void listening.play();
  const play = last();
  listening.open(script(2));
  listening.applyState(live());
  assert.deepEqual(movedHere, [], "it was this device that let it play");
  await play.answer(live());
  assert.deepEqual([last().event, last().payload["session_id"]], ["leave", "session-1"]);
});

test("what was told to play on another device goes on there when another script is opened", async () => {
  listening.open(script(1));
  void listening.play(THERE);
  listening.open(script(2));
  await last().answer(live({ active_device: THERE }));
  assert.deepEqual(sent.map(({ event }) => event), ["play"]);
});

test("once nobody is signed in nothing sounds, and no press does anything", async () => {
  openPlaying();
  assert.equal(audio.paused, false);
  listening.close();
  assert.deepEqual([audio.paused, listening.script, listening.state], [true, null, null]);
  await listening.toggle();
  await listening.seekBy(5_000);
  assert.deepEqual([sent, audio.paused], [[], true]);
});

test("what sounds here by what the server knows, and is not open, is stopped: a link was opened over it", async () => {
  sessions = [{ session_id: "session-2", script_id: "script-2", playing: true }];
  elsewhere = live({ session_id: "session-2", script_id: "script-2" });
  openPlaying();
  await settled();
  assert.deepEqual([last().event, last().payload], ["pause", { session_id: "session-2" }]);
});

test("what was left without a line is stopped when it is back, where it was heard last", async () => {
  openPlaying({ position: 20 });
  await settled();
  audio.readyState = 4;
  audio.dispatchEvent(new Event("loadedmetadata"));
  audio.currentTime = 20;
  listening.open(script(2));
  await last().refuse(new Refusal(NOT_CONNECTED));
  elsewhere = live();
  joined(null);
  await settled();
  assert.deepEqual([last().event, last().payload], ["pause", { session_id: "session-1", position: 20 }]);
  await last().answer(live({ revision: 2, playing: false }));
  assert.deepEqual(problems, []);
});

test("who signs out leaves what sounds here, and not what sounds elsewhere", () => {
  openPlaying();
  void listening.leave();
  assert.deepEqual([last().event, last().payload], ["leave", { session_id: "session-1" }]);
  listening.open(script(2));
  joined(live({ session_id: "session-2", script_id: "script-2", active_device: THERE }));
  const before = sent.length;
  void listening.leave();
  assert.equal(sent.length, before);
});

test("a sound that went on for long without a line goes on where it is, and what was heard is told first", async () => {
  const began = openPlaying({ position: 20, duration: 600 });
  listening.script = { ...script(1), duration: 600 };
  Object.assign(audio, { readyState: 4, currentTime: 20 });
  audio.dispatchEvent(new Event("loadedmetadata"));
  const now = performance.now.bind(performance);
  let laterMs = 0;
  mock.method(performance, "now", () => now() + laterMs);
  const plays = (forMs: number): void => {
    for (let ms = 0; ms < forMs; ms += 100) {
      laterMs += 100;
      audio.currentTime += 0.1;
      mock.timers.tick(100);
    }
  };
  away = true;
  listening.lineLost();
  plays(30_000);
  assert.ok(Math.abs(audio.currentTime - 50) < 0.3, `${audio.currentTime}`);
  const stoppedThere = { ...began, revision: 2, playing: false };
  const told: string[] = [];
  const telling = listening.catchUp(
    { ok: true, state: stoppedThere, place: null, server_time: 0, ...devices },
    async (event, payload) => {
      told.push(event);
      const { position } = payload as { position: number };
      const state = live({ revision: 2 + told.length, position, duration: 600, playing: event === "play" });
      return { ok: true, state, server_time: 0 } as never;
    },
  );
  const taken = await telling;
  assert.deepEqual([told, taken?.state?.revision], [["offline", "play"], 4]);
  const hereS = audio.currentTime;
  away = false;
  listening.joined(taken as JoinAck);
  assert.deepEqual([audio.currentTime, audio.paused, listening.playing], [hereS, false, true]);
});
