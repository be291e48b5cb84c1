/**
 * The bookmarks of one script as this page knows them, from the list it fetched and from what it is told since. Pure.
 * Two servers may tell of two changes in the wrong order: the later `updated_at` holds, and what is deleted stays so.
 */

import type { Bookmark, BookmarkChange } from "./wire.ts";

export class BookmarkList {
  readonly #byId = new Map<string, Bookmark>();
  readonly #deleted = new Set<string>();
  /** What was told since the list that is held was asked for. */
  #told: readonly { readonly number: number; readonly change: BookmarkChange }[] = [];
  #toldCount = 0;
  #askedAt = 0;

  /** All of them, by position. */
  get sorted(): Bookmark[] {
    return [...this.#byId.values()].sort((a, b) => a.position - b.position);
  }

  /** How many changes were told so far; whoever asks for a list notes it for `fill`. */
  get toldCount(): number {
    return this.#toldCount;
  }

  /** Begins anew with a list that was asked for when `askedAt` changes were told: what was told since holds on. */
  fill(bookmarks: readonly Bookmark[], askedAt = this.#toldCount): void {
    if (askedAt < this.#askedAt) return; // older than what is held
    this.#askedAt = askedAt;
    this.#byId.clear();
    this.#deleted.clear();
    for (const bookmark of bookmarks) this.#byId.set(bookmark.bookmark_id, bookmark);
    this.#told = this.#told.filter(({ number }) => number > askedAt);
    for (const { change } of this.#told) this.#take(change);
  }

  apply(change: BookmarkChange): void {
    this.#toldCount += 1;
    this.#told = [...this.#told, { number: this.#toldCount, change }];
    this.#take(change);
  }

  #take({ action, bookmark }: BookmarkChange): void {
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
