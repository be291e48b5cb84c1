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

  /** The latest confirmed state, or null while no session is live. */
  get state(): State | null {
    return this.#state;
  }

  /** Takes a state that is later than the one held, of the same session; answers whether it did. */
  apply(state: State): boolean {
    const held = this.#state?.session_id === state.session_id ? this.#state : null;
    if (!isLater(state, held)) return false;
    this.#state = state;
    return true;
  }

  /** The session is over, or another script is opened: nothing of it may linger. */
  clear(): void {
    this.#state = null;
    this.#underway = [];
  }

  begin(commandId: string, predict: Prediction | null): void {
    this.#underway.push({ commandId, predict });
  }

  /** The command was answered, whatever the answer: from here on the confirmed state speaks. */
  settle(commandId: string): void {
    this.#underway = this.#underway.filter((one) => one.commandId !== commandId);
  }

  get busy(): boolean {
    return this.#underway.length > 0;
  }

  /** The playhead to show: the confirmed one with the commands under way applied in the order of their presses. */
  get playhead(): Playhead | null {
    if (!this.#state) return null;
    return this.#underway.reduce(
      (playhead, { predict }) => (predict ? predict(playhead) : playhead),
      playheadOf(this.#state),
    );
  }
}

/** Without a live session: where the script will resume. */
export function restingPlayhead(script: Script, place: Place | null): Playhead {
  const durationMs = secondsToMs(script.duration);
  const placeMs = place && !place.finished ? secondsToMs(place.position) : 0;
  return { playing: false, positionMs: Math.min(placeMs, durationMs), anchoredAtMs: 0, rate: 1, durationMs, loop: null };
}
