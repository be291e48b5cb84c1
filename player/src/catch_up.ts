/**
 * What sounds on without a line, and how the server hears of it (docs/protocol.md, rules 18 and 19).
 * Owns the log. Knows neither socket nor element: it is asked with every snapshot of a new line, before anything else is
 * said there, and answers the snapshot to take instead.
 *
 *     lost    -> the state that is held is what the sound goes on from
 *     snapshot: the server's playhead runs on as before -> nothing: reports do the rest
 *               else -> `offline`, all that was heard -> accepted: `play` where the sound is, if it still sounds
 *                                                     -> `conflict`: others have moved the playhead, and it stays there
 */

import { BELIEVED_MS, lagMs } from "./drift.ts";
import { uuid } from "./identity.ts";
import { PlayedLog, type Stretch } from "./played_log.ts";
import { playheadOf, positionAt, secondsToMs } from "./playhead.ts";
import type { Ack, ErrorAck, JoinAck, State, StateAck } from "./wire.ts";

/** About 10,000 characters; an event may have 16,384. */
export const STRETCHES_PER_BATCH = 100;
/** How long a refusal that will pass is waited for; presses wait as long. */
const TELL_MS_MAX = 15_000;
const AGAIN_MS = 1_000;
const MOVED_ON =
  "Another device has moved on while this one had no connection. What was heard here counts, and its place is in the history.";

/** The playhead has come to the sound, as after a report: nobody has moved it. */
const FOLLOWED = { command: "progress", device_id: null, command_id: null };

/** An event on the line that has brought the snapshot; null where no answer came. */
export type Ask = <Good>(event: string, payload: object) => Promise<Ack<Good> | null>;

export interface CatchUpSource {
  readonly deviceId: string;
  /** The confirmed state, while this is the active device of its session. */
  activeState(): State | null;
  /** What was heard up to now; null before anything is loaded. */
  placeMs(): number | null;
  /** Whether the element is to run, and whether it does, at which rate. */
  sounding(): boolean;
  moving(): boolean;
  rate(): number;
  serverMs(): number;
  /** How long the last question was on its way, there and back. */
  rttMs(): number;
  problem(message: string): void;
}

interface Untold {
  readonly base: State;
  readonly stretches: readonly Stretch[];
  readonly placeMs: number;
}

export class CatchUp {
  readonly #source: CatchUpSource;
  readonly #log = new PlayedLog();
  /** The state that the sound went on from when the line was lost, or that the last telling has left. */
  #base: State | null = null;
  /** The session that the log is of. */
  #sessionId: string | null = null;
  /** Of scripts that were open before, and left without a line. */
  #before: Untold[] = [];

  constructor(source: CatchUpSource) {
    this.#source = source;
  }

  /** To be called often: looks where the sound is. */
  look(): void {
    const state = this.#base ?? this.#source.activeState();
    if (state?.session_id !== this.#sessionId) this.#log.clear();
    this.#sessionId = state?.session_id ?? null;
    // The server has stopped it, and was told where it was.
    if (!this.#base && !state?.playing) this.#log.clear();
    const placeMs = this.#source.placeMs();
    if (!state) return;
    if (!this.#source.sounding()) this.#log.rests();
    else if (placeMs === null || !this.#source.moving()) this.#log.waits();
    else this.#log.sounds(Math.min(placeMs, secondsToMs(state.duration)), this.#nowMs(), this.#source.rate());
  }

  /** A report was answered: the server has heard of everything up to that time. */
  reported(atMs: number): void {
    this.#log.told(Math.round(atMs));
  }

  /** The line is gone. */
  lost(): void {
    this.#base ??= this.#source.activeState();
  }

  /** Another script is opened. What was heard of the one before is kept where the server has not heard of it. */
  opened(): void {
    const untold = this.#untold();
    if (untold) this.#before.push(untold);
    this.#base = this.#sessionId = null;
    this.#log.clear();
  }

  /** Nobody is signed in any more. */
  forget(): void {
    this.opened();
    this.#before = [];
  }

  /**
   * The first snapshot of a new line. Null: there is nothing to tell. Else what has to be taken for the snapshot once that
   * is done, or null when the line was lost again: then all of it is told on the next one.
   */
  tell(snapshot: JoinAck, ask: Ask): Promise<JoinAck | null> | null {
    this.look();
    const untold = this.#untold();
    const runsOn = untold !== null && this.#runsOn(snapshot.state, untold);
    if (runsOn || !untold) this.#base = null;
    if ((runsOn || !untold) && this.#before.length === 0) return null;
    return this.#tellAll(snapshot, runsOn ? null : untold, ask);
  }

  #nowMs(): number {
    return Math.round(this.#source.serverMs());
  }

  #untold(): Untold | null {
    const stretches = this.#log.stretches();
    const last = stretches.at(-1);
    if (!this.#base || !last) return null;
    const placeMs = Math.min(this.#source.placeMs() ?? last.endMs, secondsToMs(this.#base.duration));
    return { base: this.#base, stretches, placeMs };
  }

  /** Whether the server's playhead is where it was going anyway, or where the sound is: nobody has moved or stopped it. */
  #runsOn(state: State | null, { base, placeMs }: Untold): boolean {
    if (!state?.playing || state.session_id !== base.session_id) return false;
    if (state.active_device !== base.active_device && state.mode !== "together") return false;
    const playhead = playheadOf(state);
    const nowMs = this.#source.serverMs();
    const near = (otherMs: number): boolean => Math.abs(lagMs(playhead, nowMs, otherMs)) <= BELIEVED_MS;
    return near(placeMs) || (base.playing && near(positionAt(playheadOf(base), nowMs)));
  }

  async #tellAll(snapshot: JoinAck, untold: Untold | null, ask: Ask): Promise<JoinAck | null> {
    for (const before of [...this.#before]) {
      if ((await this.#tellOne(before, ask)) === null) return null;
      this.#before = this.#before.filter((one) => one !== before);
    }
    if (!untold) return snapshot;
    const untilMs = this.#nowMs();
    this.#log.cut();
    const goesOn = this.#log.goesOn(untilMs);
    const told = await this.#tellOne(untold, ask);
    if (told === null) return null;
    this.#log.told(untilMs);
    let { state } = told;
    if (state) this.#base = state;
    if (told.taken && goesOn && state && this.#toGoOn(untold.base, state)) {
      const answer = await ask<StateAck>("play", this.#play(state));
      if (answer === null) return null;
      state = answer.ok ? answer.state && { ...answer.state, cause: FOLLOWED } : (answer.error.state ?? state);
    }
    this.#base = null;
    if (told.conflict) this.#source.problem(MOVED_ON);
    // A log that was not taken changes nothing.
    return state ? { ...snapshot, state, place: null } : snapshot;
  }

  /** All batches, each on what the one before has left; only a conflict of the last one counts. Null: no line. */
  async #tellOne(untold: Untold, ask: Ask): Promise<{ state: State | null; taken: boolean; conflict: boolean } | null> {
    let [base, conflict, state]: [State, boolean, State | null] = [untold.base, false, null];
    for (const payload of batches(untold)) {
      const answer = await this.#patiently(ask, { ...payload, command_id: uuid(), base: orderOf(base) });
      if (answer === null) return null;
      conflict = isRefused(answer) && answer.error.code === "conflict";
      if (isRefused(answer) && !conflict) return { state: null, taken: false, conflict: false };
      state = (isRefused(answer) ? answer.error.state : answer.state) ?? state;
      if (!conflict && state) base = state;
    }
    return { state, taken: !conflict, conflict };
  }

  async #patiently(ask: Ask, payload: object): Promise<Ack<StateAck> | null> {
    const untilMs = performance.now() + TELL_MS_MAX;
    for (;;) {
      const answer = await ask<StateAck>("offline", payload);
      if (answer === null || !isRefused(answer) || !answer.error.retry) return answer;
      const waitMs = Math.max(AGAIN_MS, answer.error.retry_after_ms ?? 0);
      if (performance.now() + waitMs > untilMs) return answer;
      await new Promise((resolve) => setTimeout(resolve, waitMs));
    }
  }

  /** The server has stopped it for want of a line, and nothing else would have stopped it by now. */
  #toGoOn(base: State, state: State): boolean {
    const asleep = base.sleep_at !== null && base.sleep_at <= this.#source.serverMs();
    return !state.playing && !state.ended && this.#source.sounding() && !asleep;
  }

  /** From where the sound will be when that is done. */
  #play(state: State): object {
    const hereMs = (this.#source.placeMs() ?? state.position * 1000) + (this.#source.rttMs() / 2) * this.#source.rate();
    const position = Math.min(Math.round(hereMs) / 1000, state.duration);
    return { session_id: state.session_id, position, device_id: this.#source.deviceId, command_id: uuid() };
  }
}

function isRefused(answer: Ack<StateAck>): answer is ErrorAck {
  return !answer.ok;
}

function orderOf({ session_id, epoch, revision }: State): object {
  return { session_id, epoch, revision };
}

function* batches({ base, stretches, placeMs }: Untold): Generator<object> {
  for (let first = 0; first < stretches.length; first += STRETCHES_PER_BATCH) {
    const rows = stretches.slice(first, first + STRETCHES_PER_BATCH);
    const isLast = first + STRETCHES_PER_BATCH >= stretches.length;
    const endMs = isLast ? placeMs : (rows.at(-1)?.endMs ?? placeMs);
    const intervals = rows.map((row) => ({
      start: row.startMs / 1000,
      end: row.endMs / 1000,
      started_at: row.startedAtMs,
      ended_at: row.endedAtMs,
    }));
    yield { script_id: base.script_id, position: Math.round(endMs) / 1000, intervals };
  }
}
