/**
 * What this device believes of one session: the latest state of the server, and on top of it the commands of its own
 * that are still under way, so that a press acts at once and is taken back when the server refuses it.
 * Pure: no sockets, no clock.
 */

import { isLater, playheadOf, secondsToMs, type Playhead } from "./playhead.ts";
import type { Place, Script, State } from "./wire.ts";

/** What a command under way will do to the playhead, seen from the moment of the press. */
export type Prediction = (before: Playhead) => Playhead;

interface Underway {
  readonly commandId: string;
  readonly predict: Prediction | null;
}

export class SessionView {
  #state: State | null = null;
  #underway: Underway[] = [];
  #unheard: Prediction | null = null;

  /** The latest confirmed state, or null while no session is live. */
  get state(): State | null {
    return this.#state;
  }

  /** Takes a state that is later than the one held, of the same session; answers whether it did. */
  apply(state: State): boolean {
    const held = this.#state?.session_id === state.session_id ? this.#state : null;
    if (!isLater(state, held)) return false;
    this.#state = state;
    this.#unheard = null;
    return true;
  }

  /** The session is over, or another script is opened: nothing of it may linger. */
  clear(): void {
    this.#state = null;
    this.#underway = [];
    this.#unheard = null;
  }

  begin(commandId: string, predict: Prediction | null): void {
    this.#underway.push({ commandId, predict });
  }

  /** The command was answered, whatever the answer: from here on the confirmed state speaks. */
  settle(commandId: string): void {
    this.#drop(commandId);
    this.#unheard = null;
  }

  /**
   * Nobody answered, and the line is to blame. With `keep` what the command does stays shown, and does not turn back by
   * itself, until the server says something.
   */
  giveUp(commandId: string, keep: boolean): void {
    const given = this.#drop(commandId);
    if (keep) this.#unheard = given?.predict ?? null;
  }

  /** Whether a command stays shown that the server may not have heard. */
  get holding(): boolean {
    return this.#unheard !== null;
  }

  get busy(): boolean {
    return this.#underway.length > 0;
  }

  /** The playhead to show: the confirmed one with the commands under way applied in the order of their presses. */
  get playhead(): Playhead | null {
    if (!this.#state) return null;
    const confirmed = playheadOf(this.#state);
    return this.#underway.reduce(
      (playhead, { predict }) => (predict ? predict(playhead) : playhead),
      this.#unheard ? this.#unheard(confirmed) : confirmed,
    );
  }

  #drop(commandId: string): Underway | undefined {
    const dropped = this.#underway.find((one) => one.commandId === commandId);
    this.#underway = this.#underway.filter((one) => one !== dropped);
    return dropped;
  }
}

/** A jump out of an enabled loop switches the loop off. */
export function soughtTo(toMs: number): Prediction {
  return (before) => {
    const { loop } = before;
    const outside = loop?.enabled && (toMs < loop.startMs || toMs >= loop.endMs);
    return { ...before, positionMs: toMs, loop: loop && outside ? { ...loop, enabled: false } : loop };
  };
}

/** Without a live session: where the script will resume. */
export function restingPlayhead(script: Script, place: Place | null): Playhead {
  const durationMs = secondsToMs(script.duration);
  const placeMs = place && !place.finished ? secondsToMs(place.position) : 0;
  return { playing: false, positionMs: Math.min(placeMs, durationMs), anchoredAtMs: 0, rate: 1, durationMs, loop: null };
}
