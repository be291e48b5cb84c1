/**
 * The speaker with an element that does as a test says.
 * Where there is no MSE, as here, the element plays HLS by itself, and says only that it could not.
 */

import assert from "node:assert/strict";
import { afterEach, beforeEach, mock, test } from "node:test";

import { NUDGE } from "../src/drift.ts";
import type { Playhead } from "../src/playhead.ts";
import { Sound } from "../src/sound.ts";
import { installPage, SilentAudio } from "./element.ts";

const address = (token: string): string => `https://media.example/p/${token}/t/script-1/0123456789abcdef/master.m3u8`;
const PLAYING: Playhead = { playing: true, positionMs: 0, anchoredAtMs: 0, rate: 1, durationMs: 60_000, loop: null };
const TICK_MS = 100;

let audio: SilentAudio;
let sound: Sound;
let said: string[];
let nowMs: number;
let reports: number;
/** Where the sound was whenever it was told, in ms. */
let told: (number | null)[];
/** A report is not answered yet; there is no line. */
let asking: boolean;
let alone: boolean;
const fail = (): boolean => audio.dispatchEvent(new Event("error"));

beforeEach(() => {
  mock.timers.enable({ apis: ["setTimeout", "setInterval"] });
  installPage();
  audio = new SilentAudio();
  said = [];
  nowMs = 0;
  reports = 0;
  told = [];
  [asking, alone] = [false, false];
  const say = (word: string) => (): void => void said.push(word);
  sound = new Sound(audio as unknown as HTMLAudioElement, () => nowMs, {
    started: () => {
      reports += 1;
      told.push(sound.positionMs);
    },
    asking: () => asking,
    alone: () => alone,
    blocked: say("blocked"),
    ended: say("ended"),
    stoppedOutside: say("stopped"),
    startedOutside: say("started"),
    expired: say("expired"),
    failed: say("failed"),
    gaveUp: say("gave up"),
  });
  sound.load(address("first"));
  sound.follow(PLAYING);
});

/** The browser has fetched what it needs, and lets the element go. */
function goes(): void {
  Object.assign(audio, { readyState: 4, paused: false });
  audio.dispatchEvent(new Event("loadedmetadata"));
}

/** Lets 100 ms pass, in which the element plays on by `playedMs`. */
function runs(playedMs: number): void {
  nowMs += TICK_MS;
  audio.currentTime += playedMs / 1000;
  mock.timers.tick(TICK_MS);
}

afterEach(() => mock.timers.reset());

/** One failure after the other, each once the address that it led to is loaded: the waits until that is asked for. */
function failsOn(times: number): number[] {
  return Array.from({ length: times }, (_, index) => {
    const asked = said.filter((word) => word === "expired").length;
    let waitedMs = 0;
    fail();
    for (; said.filter((word) => word === "expired").length === asked && waitedMs < 10_000; waitedMs += 500) {
      mock.timers.tick(500);
    }
    sound.load(address(`token-${index}`));
    return waitedMs;
  });
}

test("a stream that the browser's own player cannot get is renewed at once, and then in growing waits", () => {
  assert.deepEqual(failsOn(3), [0, 1_000, 2_000]);
  assert.deepEqual(said, ["expired", "expired", "expired"]);
  assert.deepEqual(failsOn(2), [2_000, 2_000]);
  assert.deepEqual(said.filter((word) => word !== "expired"), ["failed"], "the listener is told once");
});

test("after a minute it is given up, and the next press tries again, as often", () => {
  failsOn(32);
  said = [];
  fail();
  assert.deepEqual(said, ["gave up"]);
  sound.load(address("third"));
  assert.equal(audio.src, address("third"));
  assert.deepEqual(failsOn(2), [0, 1_000]);
});

test("a stream that the browser cannot decode is renewed once, and then given up", () => {
  audio.error = { code: 3 };
  fail();
  assert.deepEqual(said, ["expired"]);
  sound.load(address("second"));
  assert.equal(audio.src, address("second"));
  fail();
  assert.deepEqual(said, ["expired", "gave up"]);
});

test("an element that pauses as it fails was not stopped by anybody", () => {
  audio.dispatchEvent(new Event("pause"));
  assert.deepEqual(said, [], "it plays");
  audio.error = { code: 4 };
  audio.paused = true;
  audio.dispatchEvent(new Event("pause"));
  assert.deepEqual(said, []);
  audio.error = null;
  audio.dispatchEvent(new Event("pause"));
  assert.deepEqual(said, ["stopped"]);
});

test("a retry that waits is left with the stream", () => {
  failsOn(1);
  fail();
  sound.unload();
  mock.timers.tick(10_000);
  assert.deepEqual(said, ["expired"]);
});

test("a newer address that is at hand is tried before another one is asked for", () => {
  sound.load(address("second"));
  assert.equal(audio.src, address("first"), "what plays goes on");
  fail();
  assert.deepEqual([audio.src, said], [address("second"), []]);
  fail();
  mock.timers.tick(1_000);
  assert.deepEqual(said, ["expired"]);
});

test("a stream that has sounded meanwhile is renewed again", () => {
  fail();
  sound.load(address("second"));
  goes();
  runs(100);
  fail();
  assert.deepEqual(said, ["expired", "expired"]);
});

test("an element that has nothing to play has nothing to fail at", () => {
  sound.unload();
  fail();
  assert.deepEqual(said, []);
});

test("a start is told once the sound moves, not when it might", () => {
  goes();
  runs(0);
  runs(0);
  assert.equal(reports, 0);
  runs(100);
  runs(100);
  assert.equal(reports, 1);
});

test("a sound that falls behind after its start was told is told again, and not skipped over", () => {
  goes();
  runs(100);
  for (let tick = 0; tick < 3; tick += 1) runs(0);
  assert.equal(reports, 2);
  sound.follow({ ...PLAYING, positionMs: 100, anchoredAtMs: nowMs });
  for (let tick = 0; tick < 10; tick += 1) runs(100);
  assert.deepEqual([reports, Math.round(audio.currentTime * 1000)], [2, 1_100]);
});

/** The playhead that a report has left: where the sound said that it was, and so, by a clock that is off, `offMs` from it. */
const reported = (offMs: number): Playhead => {
  const hereMs = Math.round(audio.currentTime * 1000);
  return { ...PLAYING, positionMs: hereMs + offMs, anchoredAtMs: nowMs, reported: true };
};

/** Goes, and falls 800 ms behind the playhead. */
function fallsBehind(): void {
  goes();
  runs(100);
  for (let tick = 0; tick < 8; tick += 1) runs(0);
  runs(100);
}

for (const offMs of [-200, -60, 60, 200]) {
  test(`a playhead that has followed this sound is not sought for what the clock is off: ${offMs} ms`, () => {
    fallsBehind();
    const [hereS, reportsBefore] = [audio.currentTime, reports];
    sound.follow(reported(offMs));
    assert.deepEqual([audio.currentTime, reports], [hereS, reportsBefore]);
    assert.equal(audio.playbackRate, offMs > 0 ? 1 + NUDGE : 1 - NUDGE, "it is played away");
  });
}

test("a playhead that somebody has moved is sought, however near, and so is one where another device speaks", () => {
  for (const [playhead, speaks] of [[{ ...reported(0), reported: false }, true], [reported(0), false]] as const) {
    fallsBehind();
    const toMs = Math.round(audio.currentTime * 1000) + 60;
    sound.follow({ ...playhead, positionMs: toMs, anchoredAtMs: nowMs }, speaks);
    assert.equal(Math.round(audio.currentTime * 1000), toMs);
    sound.follow({ ...PLAYING, positionMs: toMs, anchoredAtMs: nowMs - 800 });
  }
});

test("a playhead that has followed this sound, and was late, is told where that is, and nothing is heard twice", () => {
  goes();
  for (let tick = 0; tick < 50; tick += 1) runs(100);
  const [hereS, before] = [audio.currentTime, reports];
  sound.follow(reported(-600));
  runs(100);
  assert.deepEqual([Math.round((audio.currentTime - hereS) * 1000), reports], [100, before + 1]);
  sound.follow(reported(-3_000));
  assert.ok(audio.currentTime < hereS, "further ahead it is not believed");
});

test("a sound that begins again begins where the playhead is, whoever has told it", () => {
  fallsBehind();
  sound.follow(null);
  const playhead = reported(100);
  sound.follow(playhead);
  assert.equal(Math.round(audio.currentTime * 1000), playhead.positionMs);
});

test("a playhead that has followed this sound to somewhere else is sought", () => {
  fallsBehind();
  const playhead = reported(300);
  sound.follow(playhead);
  assert.equal(Math.round(audio.currentTime * 1000), playhead.positionMs);
});

test("a sound whose report changes nothing gives way in the end", () => {
  goes();
  runs(100);
  for (let tick = 0; tick < 3; tick += 1) runs(0);
  for (let tick = 0; tick < 22; tick += 1) runs(100);
  assert.equal(Math.round(audio.currentTime * 1000), nowMs);
  assert.ok(reports <= 10, `${reports} reports`);
});

test("a sound does not give way to the playhead while the server has not said where that is", () => {
  fallsBehind();
  asking = true;
  const place = reported(0);
  for (let tick = 0; tick < 40; tick += 1) runs(100);
  assert.equal(Math.round(audio.currentTime * 1000), 4_200);
  sound.follow(place);
  assert.equal(Math.round(audio.currentTime * 1000), 4_200);
});

test("a sound without a line goes on where it is, for as long as that lasts, and is told when the line is back", () => {
  fallsBehind();
  alone = true;
  const before = reports;
  for (let tick = 0; tick < 200; tick += 1) runs(100);
  assert.deepEqual([Math.round(audio.currentTime * 1000), reports], [20_200, before]);
  alone = false;
  runs(100);
  assert.deepEqual([Math.round(audio.currentTime * 1000), reports], [20_300, before + 1]);
});

test("a sound gives way in the end, also where a report is never done with", () => {
  fallsBehind();
  asking = true;
  for (let tick = 0; tick < 80; tick += 1) runs(100);
  assert.equal(Math.round(audio.currentTime * 1000), nowMs);
});

test("what was not heard while the machine slept is neither skipped nor told as heard", () => {
  goes();
  for (let tick = 0; tick < 5; tick += 1) runs(100);
  told = [];
  nowMs += 30_000; // neither element nor timers went on
  runs(100);
  runs(100);
  assert.deepEqual([Math.round(audio.currentTime * 1000), told], [700, [700]]);
  sound.follow({ ...reported(0), anchoredAtMs: nowMs });
  for (let tick = 0; tick < 5; tick += 1) runs(100);
  assert.deepEqual([Math.round(audio.currentTime * 1000), told], [1_200, [700]]);
});

test("a loop whose end is the script's goes on at its start, also where the element has come to its end first", () => {
  const loop = { startMs: 50_000, endMs: 60_000, enabled: true };
  sound.follow({ ...PLAYING, positionMs: 58_000, anchoredAtMs: nowMs, loop });
  goes();
  for (let tick = 0; tick < 19; tick += 1) runs(100);
  audio.end();
  runs(0);
  for (let tick = 0; tick < 5; tick += 1) runs(100);
  assert.deepEqual([said, audio.paused, Math.round(audio.currentTime * 1000)], [[], false, 50_500]);
});

test("a sound that stood still until its address was refused goes on where it stood", () => {
  goes();
  for (let tick = 0; tick < 20; tick += 1) runs(100);
  audio.readyState = 2;
  for (let tick = 0; tick < 60; tick += 1) runs(0);
  fail();
  sound.load(address("second"));
  assert.equal(sound.positionMs, 2_000);
  told = [];
  goes();
  runs(100);
  runs(100);
  assert.deepEqual([Math.round(audio.currentTime * 1000), told], [2_200, [2_100]]);
});

test("a sound that has to wait for its address begins where the playhead was then, unless that is moved meanwhile", () => {
  sound.unload();
  sound.follow(null);
  for (const [first, next, beginsMs] of [
    [{ positionMs: 10_000 }, {}, 10_000],
    [{ positionMs: 10_000 }, { positionMs: 40_000 }, 40_000],
    [{ playing: false }, { positionMs: 30_000 }, 30_000],
  ] as const) {
    const playhead = { ...PLAYING, ...first, anchoredAtMs: nowMs };
    sound.follow(playhead);
    runs(0);
    sound.follow({ ...playhead, playing: true, ...next, ...("positionMs" in next && { anchoredAtMs: nowMs }) });
    for (let tick = 0; tick < 10; tick += 1) runs(0);
    sound.load(address(`${beginsMs}`));
    goes();
    assert.equal(Math.round(audio.currentTime * 1000), beginsMs);
    sound.unload();
    sound.follow(null);
  }
});

test("a sound that nobody waits for begins where the playhead is by then", () => {
  sound.unload();
  for (const speaks of [false, true]) {
    sound.follow(PLAYING, speaks);
    if (speaks) sound.follow(null);
    for (let tick = 0; tick < 10; tick += 1) runs(0);
    sound.follow(PLAYING, speaks);
    sound.load(address("later"));
    goes();
    assert.equal(Math.round(audio.currentTime * 1000), nowMs);
    sound.unload();
  }
});

for (const latencyMs of [300, 700, 1_900]) {
  test(`in unison a device that sounds ${latencyMs} ms after a seek comes to the playhead, and does not seek for ever`, () => {
    let [leftAtS, silentUntilMs, seeks] = [0, 0, 0];
    const runsLate = (): void => {
      if (audio.currentTime !== leftAtS) [silentUntilMs, seeks] = [nowMs + latencyMs, seeks + 1];
      leftAtS = audio.currentTime + (nowMs >= silentUntilMs ? (TICK_MS / 1000) * audio.playbackRate : 0);
      runs((leftAtS - audio.currentTime) * 1000);
    };
    sound.follow(PLAYING, false);
    goes();
    for (let tick = 0; tick < 100; tick += 1) runsLate();
    sound.follow({ ...PLAYING, positionMs: 20_000, anchoredAtMs: nowMs }, false);
    const movedMs = nowMs;
    for (let tick = 0; tick < 200; tick += 1) runsLate();
    assert.ok(Math.abs(audio.currentTime * 1000 - 20_000 - (nowMs - movedMs)) <= 40, `${audio.currentTime}`);
    assert.ok(seeks <= 4, `${seeks} seeks`);
  });
}
