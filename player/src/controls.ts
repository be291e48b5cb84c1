/** What is pressed of a live session beside play, pause and seek; without a session it does nothing. Knows nothing of sound. */

import type { Commands } from "./commands.ts";

/** In so many seconds, or at the end of the loop; without either never. */
export interface SleepWhen {
  readonly after?: number;
  readonly at_end_of_loop?: boolean;
}

export class Controls {
  readonly #commands: Commands;
  readonly #placeMs: () => number;

  /** `placeMs`: where the playhead is shown. */
  constructor(commands: Commands, placeMs: () => number) {
    this.#commands = commands;
    this.#placeMs = placeMs;
  }

  async setLoop(startMs: number, endMs: number, enabled: boolean): Promise<void> {
    await this.#commands.steer("loop", { start: startMs / 1000, end: endMs / 1000, enabled });
  }

  async setRate(rate: number): Promise<void> {
    const placeMs = this.#placeMs();
    await this.#commands.steer("rate", { rate }, { predict: (before) => ({ ...before, positionMs: placeMs, rate }) });
  }

  async setTogether(together: boolean): Promise<void> {
    await this.#commands.steer("mode", { mode: together ? "together" : "handoff" });
  }

  /** Lets the server pause by itself. */
  async sleep(when: SleepWhen): Promise<void> {
    await this.#commands.steer("sleep", when);
  }

  /** Goes back to the place of an entry of the session's history. */
  async restore(entryId: string): Promise<void> {
    await this.#commands.steer("restore", { entry_id: entryId });
  }
}
