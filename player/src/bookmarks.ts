/** The bookmarks of the script that is open: set one at the playhead, jump to it, delete it. */

import type { Api } from "./api.ts";
import { byTestId, find, fromTemplate, setText, showList } from "./dom.ts";
import { formatTime } from "./format.ts";
import type { Listening } from "./listening.ts";
import { secondsToMs } from "./playhead.ts";
import { Refusal } from "./refusal.ts";
import { showProblem } from "./toasts.ts";
import type { Bookmark } from "./wire.ts";

export class Bookmarks {
  readonly #api: Api;
  readonly #listening: Listening;
  readonly #shown: (bookmarksMs: readonly number[]) => void;
  #bookmarks: Bookmark[] = [];

  /** `shown` hears where the bookmarks are, for the marks on the seek bar. */
  constructor(api: Api, listening: Listening, shown: (bookmarksMs: readonly number[]) => void) {
    this.#api = api;
    this.#listening = listening;
    this.#shown = shown;
    byTestId<HTMLFormElement>("bookmark-form").onsubmit = (event) => {
      event.preventDefault();
      void this.#add();
    };
  }

  async load(): Promise<void> {
    const { script } = this.#listening;
    find(".bookmarks").hidden = script === null;
    if (!script) return;
    await this.#attempt(async () => {
      const bookmarks = await this.#api.bookmarks(script.script_id);
      if (script === this.#listening.script) this.#show(bookmarks);
    });
  }

  clear(): void {
    this.#show([]);
  }

  async #add(): Promise<void> {
    const { script } = this.#listening;
    if (!script) return;
    const field = byTestId<HTMLInputElement>("bookmark-title");
    const position = Math.round(this.#listening.positionMs) / 1000;
    await this.#attempt(async () => {
      const bookmark = await this.#api.addBookmark(script.script_id, position, field.value.trim());
      field.value = "";
      if (script === this.#listening.script) this.#show([...this.#bookmarks, bookmark]);
    });
  }

  async #delete(bookmarkId: string): Promise<void> {
    await this.#attempt(async () => {
      await this.#api.deleteBookmark(bookmarkId);
      this.#show(this.#bookmarks.filter((bookmark) => bookmark.bookmark_id !== bookmarkId));
    });
  }

  #show(bookmarks: Bookmark[]): void {
    this.#bookmarks = [...bookmarks].sort((a, b) => a.position - b.position);
    showList(
      byTestId("bookmarks"),
      this.#bookmarks,
      (bookmark) => bookmark.bookmark_id,
      (bookmark) => this.#make(bookmark),
      fill,
    );
    this.#shown(this.#bookmarks.map((bookmark) => secondsToMs(bookmark.position)));
  }

  #make(bookmark: Bookmark): HTMLElement {
    const element = fromTemplate("bookmark-item");
    byTestId("bookmark-jump", element).onclick = () => void this.#listening.seek(secondsToMs(bookmark.position));
    byTestId("bookmark-delete", element).onclick = () => void this.#delete(bookmark.bookmark_id);
    return element;
  }

  async #attempt(work: () => Promise<void>): Promise<void> {
    try {
      await work();
    } catch (error) {
      if (!(error instanceof Refusal)) throw error;
      showProblem(error.message);
    }
  }
}

function fill(element: HTMLElement, bookmark: Bookmark): void {
  const time = formatTime(secondsToMs(bookmark.position));
  const title = bookmark.title ?? "Bookmark";
  setText(find(".time", element), time);
  setText(find(".title", element), title);
  byTestId("bookmark-jump", element).setAttribute("aria-label", `Go to ${title} at ${time}`);
  byTestId("bookmark-delete", element).setAttribute("aria-label", `Delete ${title} at ${time}`);
}
