/** The sleep timer: a list of when the server is to pause, with what is left of the time while one is set. */

import type { SleepWhen } from "./controls.ts";
import { byTestId, find, setText } from "./dom.ts";
import { formatLeft } from "./format.ts";
import type { Listening } from "./listening.ts";

/** What is chosen, where it is no number of seconds. */
const OFF = "off";
const AT_END_OF_LOOP = "loop";
const SET = "set";

export class SleepTimer {
  readonly #listening: Listening;
  readonly #select = byTestId<HTMLSelectElement>("sleep");
  readonly #left = find<HTMLOptionElement>(`option[value="${SET}"]`, this.#select);
  readonly #loop = find<HTMLOptionElement>(`option[value="${AT_END_OF_LOOP}"]`, this.#select);

  constructor(listening: Listening) {
    this.#listening = listening;
    this.#select.addEventListener("change", () => void this.#choose());
  }

  /** At each change. */
  update(): void {
    const { state, playhead } = this.#listening;
    this.#select.disabled = state === null;
    this.#loop.disabled = !playhead?.loop?.enabled;
    this.#left.hidden = !state?.sleep_at || state.sleep_at_end_of_loop;
    this.#select.value = state?.sleep_at_end_of_loop ? AT_END_OF_LOOP : state?.sleep_at ? SET : OFF;
    this.draw();
  }

  /** Each animation frame. */
  draw(): void {
    const sleepAtMs = this.#listening.state?.sleep_at;
    if (sleepAtMs && !this.#left.hidden) setText(this.#left, formatLeft(sleepAtMs - this.#listening.serverNowMs()));
  }

  async #choose(): Promise<void> {
    const { value } = this.#select;
    if (value === SET) return;
    await this.#listening.controls.sleep(whenOf(value));
    // What was refused is shown no longer.
    this.update();
  }
}

function whenOf(value: string): SleepWhen {
  if (value === AT_END_OF_LOOP) return { at_end_of_loop: true };
  return value === OFF ? {} : { after: Number(value) };
}
