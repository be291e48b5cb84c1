/**
 * The script that is to be opened and of which only the id is known: a link's, that of the page before the reload,
 * or one whose sound was moved here. Asks until it is answered. Knows nothing of the page.
 */

import { Refusal } from "./refusal.ts";
import type { Script } from "./wire.ts";

export const ASK_EVERY_MS = 2_000;

export interface WantedEvents {
  found(script: Script): void;
  problem(message: string): void;
}

export class WantedScript {
  readonly #look: (scriptId: string) => Promise<Script>;
  readonly #events: WantedEvents;
  #id: string | null = null;
  #timer: ReturnType<typeof setTimeout> | undefined;

  constructor(look: (scriptId: string) => Promise<Script>, events: WantedEvents) {
    this.#look = look;
    this.#events = events;
  }

  want(scriptId: string): void {
    if (this.#id === scriptId) return;
    this.forget();
    this.#id = scriptId;
    void this.#ask(scriptId, true);
  }

  /** Another one was opened, or nobody is signed in any more. */
  forget(): void {
    clearTimeout(this.#timer);
    this.#id = null;
  }

  async #ask(scriptId: string, first: boolean): Promise<void> {
    try {
      const script = await this.#look(scriptId);
      if (this.#id !== scriptId) return;
      this.#id = null;
      this.#events.found(script);
    } catch (error) {
      if (!(error instanceof Refusal)) throw error;
      if (this.#id !== scriptId) return;
      if (first) this.#events.problem(error.message);
      if (error.retry) this.#timer = setTimeout(() => void this.#ask(scriptId, false), ASK_EVERY_MS);
      else this.#id = null;
    }
  }
}
