/**
 * How long this device takes from a seek until its sound moves, and so how far ahead of the others it has to seek.
 * Pure: times come in, all in ms.
 */

/** What took longer waited for media, and says nothing of the next seek. */
export const DELAY_MS_MAX = 2_000;

export class SeekDelay {
  #ms = 0;
  #sought: { readonly toMs: number; readonly atMs: number } | null = null;

  /** As it was the last time; 0 before the first. */
  get ms(): number {
    return this.#ms;
  }

  sought(toMs: number, atMs: number): void {
    this.#sought = { toMs, atMs };
  }

  /** The sound moves, and has come to `hereMs` at that rate. */
  sounds(hereMs: number, atMs: number, rate: number): void {
    if (!this.#sought) return;
    const delayMs = atMs - this.#sought.atMs - (hereMs - this.#sought.toMs) / rate;
    this.#ms = Math.min(Math.max(delayMs, 0), DELAY_MS_MAX);
    this.#sought = null;
  }

  /** The sound is not to move any more. */
  stopped(): void {
    this.#sought = null;
  }
}
