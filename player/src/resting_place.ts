/** Where a script without a session will begin: as the server remembers, or where it was chosen here. Pure. */

import type { Place } from "./wire.ts";

export class RestingPlace {
  #place: Place | null = null;
  #chosen = false;
  /** The first `play` is not answered yet; then where to go once it is. */
  #starting = false;
  #jumpMs: number | null = null;

  get place(): Place | null {
    return this.#place;
  }

  /** It was chosen here, before anything was known of a session. */
  get chosen(): boolean {
    return this.#chosen;
  }

  choose(placeMs: number): void {
    if (this.#starting) this.#jumpMs = placeMs;
    this.#place = { position: placeMs / 1000, finished: false };
    this.#chosen = true;
  }

  /** What the server remembers counts where nothing was chosen. */
  told(place: Place | null): void {
    if (!this.#chosen) this.#place = place;
  }

  /** A session is known: the server knows the place from now on. */
  known(): void {
    this.#chosen = false;
  }

  /** A session has ended there. */
  left(placeMs: number): void {
    this.#place = { position: placeMs / 1000, finished: false };
  }

  starts(first: boolean): void {
    this.#starting = first;
  }

  /** The `play` was answered: where to jump to, if that was chosen meanwhile. */
  started(): number | null {
    this.#starting = false;
    const jumpMs = this.#jumpMs;
    this.#jumpMs = null;
    return jumpMs;
  }

  forget(): void {
    this.#place = this.#jumpMs = null;
    this.#chosen = this.#starting = false;
  }
}
