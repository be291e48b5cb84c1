/**
 * The places that were left, latest first: a press goes back to one.
 * Asked for only while it is open, and then anew after each change of the session.
 */

import type { Api } from "./api.ts";
import { byTestId, find, fromTemplate, setText, showList } from "./dom.ts";
import { formatTime } from "./format.ts";
import { wordsOf } from "./history_words.ts";
import type { Listening } from "./listening.ts";
import { secondsToMs } from "./playhead.ts";
import { Refusal } from "./refusal.ts";
import { showProblem } from "./toasts.ts";
import type { HistoryEntry, State } from "./wire.ts";

const SHOWN_MAX = 20;
/** Several changes in a row, as of a held key, are asked about once. */
const REST_MS = 250;

export class History {
  readonly #api: Api;
  readonly #listening: Listening;
  readonly #details = byTestId<HTMLDetailsElement>("history");
  #entries: readonly HistoryEntry[] = [];
  #asked = "";
  #timer: ReturnType<typeof setTimeout> | undefined;

  constructor(api: Api, listening: Listening) {
    this.#api = api;
    this.#listening = listening;
    this.#details.addEventListener("toggle", () => this.update());
  }

  /** At each change. */
  update(): void {
    const { state } = this.#listening;
    find(".history").hidden = state === null;
    if (!state || !this.#details.open) return;
    const wanted = `${state.session_id} ${state.epoch} ${state.revision}`;
    if (wanted === this.#asked) return;
    if (!this.#asked.startsWith(state.session_id)) this.#show([]);
    this.#asked = wanted;
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => void this.#load(state), REST_MS);
  }

  async #load(state: State): Promise<void> {
    try {
      const entries = await this.#api.history(state.session_id);
      if (this.#listening.state?.session_id === state.session_id) this.#show(entries.slice(0, SHOWN_MAX));
    } catch (error) {
      if (!(error instanceof Refusal)) throw error;
      this.#asked = "";
      showProblem(error.message);
    }
  }

  #show(entries: readonly HistoryEntry[]): void {
    this.#entries = entries;
    byTestId("no-history").hidden = entries.length > 0;
    showList(
      byTestId("history-entries"),
      this.#entries,
      (entry) => entry.entry_id,
      () => fromTemplate("history-item"),
      (element, entry) => this.#fill(element, entry),
    );
  }

  #fill(element: HTMLElement, entry: HistoryEntry): void {
    const place = formatTime(secondsToMs(entry.restores));
    const at = new Date(entry.at).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" });
    const words = wordsOf(entry, this.#listening.devices, at);
    setText(find(".time", element), place);
    setText(find(".title", element), words);
    const button = byTestId("history-restore", element);
    button.setAttribute("aria-label", `Go back to ${place}. ${words}`);
    button.onclick = () => void this.#listening.controls.restore(entry.entry_id);
  }
}
