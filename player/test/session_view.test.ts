import assert from "node:assert/strict";
import { test } from "node:test";

import { positionAt, type Playhead } from "../src/playhead.ts";
import { SessionView } from "../src/session_view.ts";
import { aState, NOW_MS } from "./states.ts";

const paused = (before: Playhead): Playhead => ({ ...before, playing: false });
const soughtTo = (positionMs: number) => (before: Playhead): Playhead => ({ ...before, positionMs, anchoredAtMs: NOW_MS });

test("a late event never takes a later state back", () => {
  const view = new SessionView();
  assert.equal(view.apply(aState({ revision: 3, position: 30 })), true);
  assert.equal(view.apply(aState({ revision: 2, position: 20 })), false);
  assert.equal(view.apply(aState({ revision: 3, position: 99 })), false);
  assert.equal(view.state?.position, 30);
});

test("a state of a new life of the store wins with a lower revision", () => {
  const view = new SessionView();
  view.apply(aState({ epoch: 1, revision: 50 }));
  assert.equal(view.apply(aState({ epoch: 2, revision: 1, position: 7 })), true);
  assert.equal(view.apply(aState({ epoch: 1, revision: 51 })), false);
});

test("another session of the same script starts its own count", () => {
  const view = new SessionView();
  view.apply(aState({ revision: 50 }));
  assert.equal(view.apply(aState({ session_id: "session-2", revision: 1 })), true);
});

test("a press is shown at once and taken back when the server refuses it", () => {
  const view = new SessionView();
  view.apply(aState());
  view.begin("press", paused);
  assert.equal(view.playhead?.playing, false);
  view.settle("press");
  assert.equal(view.playhead?.playing, true);
});

test("a press stays shown while older events arrive, until its own answer does", () => {
  const view = new SessionView();
  view.apply(aState({ revision: 1 }));
  view.begin("press", soughtTo(40_000));
  view.apply(aState({ revision: 2, position: 10 }));
  assert.equal(view.playhead && positionAt(view.playhead, NOW_MS), 40_000);
  view.apply(aState({ revision: 3, position: 41 }));
  view.settle("press");
  assert.equal(view.playhead && positionAt(view.playhead, NOW_MS), 41_000);
});

test("presses under way are applied in their order and settled one by one", () => {
  const view = new SessionView();
  view.apply(aState());
  view.begin("first", soughtTo(10_000));
  view.begin("second", paused);
  view.begin("third", null);
  assert.deepEqual([view.playhead?.positionMs, view.playhead?.playing, view.busy], [10_000, false, true]);
  view.settle("first");
  assert.deepEqual([view.playhead?.positionMs, view.playhead?.playing], [0, false]);
  view.settle("second");
  view.settle("third");
  assert.equal(view.busy, false);
});

test("nothing lingers when another script is opened", () => {
  const view = new SessionView();
  view.apply(aState());
  view.begin("press", paused);
  view.clear();
  assert.deepEqual([view.state, view.playhead, view.busy], [null, null, false]);
});

test("a press that nobody heard of is taken back, or kept until the server says something", () => {
  const view = new SessionView();
  view.apply(aState());
  for (const keep of [false, true]) {
    view.begin("press", paused);
    view.giveUp("press", keep);
    assert.deepEqual([view.playhead?.playing, view.holding, view.busy], [!keep, keep, false]);
  }
  assert.equal(view.apply(aState()), false);
  assert.equal(view.holding, true, "nothing new was said");
  view.apply(aState({ revision: 2 }));
  assert.deepEqual([view.playhead?.playing, view.holding], [true, false]);
});

test("a later press is shown on top of one that is kept, and its answer ends that", () => {
  const view = new SessionView();
  view.apply(aState());
  view.begin("press", paused);
  view.giveUp("press", true);
  view.begin("later", soughtTo(10_000));
  assert.deepEqual([view.playhead?.playing, view.playhead?.positionMs], [false, 10_000]);
  view.settle("later");
  assert.deepEqual([view.playhead?.playing, view.holding], [true, false]);
});
