/** The bookmarks of the script that is open, of all devices: set one at the playhead, jump to it, delete it. */

import type { Api } from "./api.ts";
import { BookmarkList } from "./bookmark_list.ts";
import { byTestId, find, fromTemplate, setText, showList } from "./dom.ts";
import { formatTime } from "./format.ts";
import type { Listening } from "./listening.ts";
import { secondsToMs } from "./playhead.ts";
import { Refusal } from "./refusal.ts";
import { showProblem } from "./toasts.ts";
import type { Bookmark, BookmarkChange } from "./wire.ts";

export class Bookmarks {
  readonly #api: Api;
  readonly #listening: Listening;
  readonly #shown: (bookmarksMs: readonly number[]) => void;
  readonly #list = new BookmarkList();

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
    const askedAt = this.#list.toldCount;
    await this.#attempt(async () => {
      const bookmarks = await this.#api.bookmarks(script.script_id);
      if (script !== this.#listening.script) return;
      this.#list.fill(bookmarks, askedAt);
      this.#show();
    });
  }

  clear(): void {
    this.#list.fill([]);
    this.#show();
  }

  /** Something became of a bookmark, here or on another device. */
  apply(change: BookmarkChange): void {
    if (change.bookmark.script_id !== this.#listening.script?.script_id) return;
    this.#list.apply(change);
    this.#show();
  }

  async #add(): Promise<void> {
    const { script } = this.#listening;
    if (!script) return;
    const field = byTestId<HTMLInputElement>("bookmark-title");
    const position = Math.round(this.#listening.positionMs) / 1000;
    await this.#attempt(async () => {
      const bookmark = await this.#api.addBookmark(script.script_id, position, field.value.trim());
      field.value = "";
      this.apply({ action: "created", bookmark });
    });
  }

  async #delete(bookmark: Bookmark): Promise<void> {
    await this.#attempt(async () => {
      await this.#api.deleteBookmark(bookmark.bookmark_id);
      this.apply({ action: "deleted", bookmark });
    });
  }

  #show(): void {
    const bookmarks = this.#list.sorted;
    showList(
      byTestId("bookmarks"),
      bookmarks,
      (bookmark) => bookmark.bookmark_id,
      () => fromTemplate("bookmark-item"),
      (element, bookmark) => this.#fill(element, bookmark),
    );
    this.#shown(bookmarks.map((bookmark) => secondsToMs(bookmark.position)));
  }

  #fill(element: HTMLElement, bookmark: Bookmark): void {
    const time = formatTime(secondsToMs(bookmark.position));
    const title = bookmark.title ?? "Bookmark";
    setText(find(".time", element), time);
    setText(find(".title", element), title);
    const jump = byTestId("bookmark-jump", element);
    jump.setAttribute("aria-label", `Go to ${title} at ${time}`);
    jump.onclick = () => void this.#listening.seek(secondsToMs(bookmark.position));
    const remove = byTestId("bookmark-delete", element);
    remove.setAttribute("aria-label", `Delete ${title} at ${time}`);
    remove.onclick = () => void this.#delete(bookmark);
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
