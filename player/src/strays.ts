/**
 * Sessions of scripts that are not open here, and that the server believes to sound on this device: after a reload that
 * opened another script, or a `leave` that nobody heard. In silence they would run on to their end, and count as heard.
 * Knows neither socket nor page.
 */

import { Refusal } from "./refusal.ts";
import type { State } from "./wire.ts";

export interface StrayLine {
  /** The listener's sessions that play anywhere. Throws `Refusal`. */
  playing(): Promise<readonly string[]>;
  /** A session as it is now; null where it is over, undefined where nobody answers. */
  look(sessionId: string): Promise<State | null | undefined>;
  /** Whether its script is open here, or about to be. */
  wanted(state: State): boolean;
  /** A command to a session; answers whether the server has done it. */
  send(event: string, payload: object): Promise<boolean>;
}

export class Strays {
  readonly #deviceId: string;
  readonly #line: StrayLine;
  /** What was left unheard, with the place of the sound. */
  readonly #left = new Map<string, number | null>();
  /** Whether those of the page before have been looked for. */
  #listed = false;
  #busy = false;

  constructor(deviceId: string, line: StrayLine) {
    this.#deviceId = deviceId;
    this.#line = line;
  }

  /** The server may not know that this session was left. */
  left(sessionId: string, placeMs: number | null): void {
    this.#left.set(sessionId, placeMs);
  }

  /** The line has brought a snapshot: from now on the server hears of them. */
  async stop(): Promise<void> {
    if (this.#busy) return;
    this.#busy = true;
    try {
      await this.#list();
      for (const [sessionId, placeMs] of [...this.#left]) {
        const state = await this.#line.look(sessionId);
        if (state === undefined) return;
        if (!state || !this.#astray(state) || (await this.#stopOne(state, placeMs))) this.#left.delete(sessionId);
      }
    } finally {
      this.#busy = false;
    }
  }

  #astray(state: State): boolean {
    return state.playing && state.active_device === this.#deviceId && !this.#line.wanted(state);
  }

  /** In unison the others go on. */
  async #stopOne({ session_id, mode }: State, placeMs: number | null): Promise<boolean> {
    if (mode === "together") return await this.#line.send("leave", { session_id });
    return await this.#line.send("pause", { session_id, ...(placeMs !== null && { position: placeMs / 1000 }) });
  }

  async #list(): Promise<void> {
    if (this.#listed) return;
    this.#listed = true;
    try {
      for (const sessionId of await this.#line.playing()) if (!this.#left.has(sessionId)) this.left(sessionId, null);
    } catch (error) {
      if (!(error instanceof Refusal)) throw error;
      this.#listed = !error.retry;
    }
  }
}
