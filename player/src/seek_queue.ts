/**
 * Seeks one after the other: while one is under way only the newest wish is kept, so that a held key floods nobody.
 * Knows no session: `seek` sends one to whatever is live by then.
 */

export class SeekQueue {
  readonly #seek: (toMs: number) => Promise<void>;
  #busy = false;
  #nextMs: number | null = null;

  constructor(seek: (toMs: number) => Promise<void>) {
    this.#seek = seek;
  }

  /** Where it is wished to go once the seek under way is answered. */
  get nextMs(): number | null {
    return this.#nextMs;
  }

  async to(placeMs: number): Promise<void> {
    this.#nextMs = placeMs;
    if (this.#busy) return;
    this.#busy = true;
    try {
      while (this.#nextMs !== null) {
        const targetMs: number = this.#nextMs;
        this.#nextMs = null;
        await this.#seek(targetMs);
      }
    } finally {
      this.#busy = false;
    }
  }

  /** Another script is open: what was wished for the one before is not done. */
  forget(): void {
    this.#nextMs = null;
  }
}
