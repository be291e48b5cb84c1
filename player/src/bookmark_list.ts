/**
 * The bookmarks of one script as this page knows them, from the list it fetched and from what it is told since. Pure.
 * Two servers may tell of two changes in the wrong order: the later `updated_at` holds, and what is deleted stays so.
 */

import type { Bookmark, BookmarkChange } from "./wire.ts";

export class BookmarkList {
  readonly #byId = new Map<string, Bookmark>();
  readonly #deleted = new Set<string>();

  /** All of them, by position. */
  get sorted(): Bookmark[] {
    return [...this.#byId.values()].sort((a, b) => a.position - b.position);
  }

  /** Begins anew with a list that was fetched. */
  fill(bookmarks: readonly Bookmark[]): void {
    this.#byId.clear();
    this.#deleted.clear();
    for (const bookmark of bookmarks) this.#byId.set(bookmark.bookmark_id, bookmark);
  }

  apply({ action, bookmark }: BookmarkChange): void {
    const id = bookmark.bookmark_id;
    if (action === "deleted") {
      this.#byId.delete(id);
      this.#deleted.add(id);
      return;
    }
    const known = this.#byId.get(id);
    const later = !known || Date.parse(bookmark.updated_at) >= Date.parse(known.updated_at);
    if (later && !this.#deleted.has(id)) this.#byId.set(id, bookmark);
  }
}
