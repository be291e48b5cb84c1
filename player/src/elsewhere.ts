/**
 * The latest state of another script of this listener than the one that is open here: it plays elsewhere,
 * until somebody moves its sound to this device. Pure.
 */

import { isLater } from "./playhead.ts";
import type { State } from "./wire.ts";

export class Elsewhere {
  #state: State | null = null;
  #leaving: string | null = null;

  get state(): State | null {
    return this.#state;
  }

  /** Takes a state unless a later one of the same session is held; answers whether it did. */
  take(state: State): boolean {
    const held = this.#state?.session_id === state.session_id ? this.#state : null;
    if (!isLater(state, held)) return false;
    this.#state = state;
    return true;
  }

  /** That script is open here from now on; null: nobody is signed in any more. */
  opened(scriptId: string | null): void {
    if (scriptId === null || this.#state?.script_id === scriptId) this.#state = null;
  }

  ended(sessionId: string): void {
    if (this.#state?.session_id === sessionId) this.#state = null;
  }

  /** This device leaves a session: what is told of it until `left` may be from before. */
  leave(sessionId: string): void {
    this.#leaving = sessionId;
  }

  left(sessionId: string): void {
    if (this.#leaving === sessionId) this.#leaving = null;
  }

  /** Whether somebody else lets it sound on `deviceId`, which plays nothing of it yet. */
  movedTo(deviceId: string): boolean {
    const state = this.#state;
    if (!state?.playing || state.active_device !== deviceId) return false;
    return state.cause?.device_id !== deviceId && state.session_id !== this.#leaving;
  }
}
