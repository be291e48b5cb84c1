/**
 * How long the browser's own player is tried again. It does not say why it failed: the address may have ended, the server
 * may have put a segment off (503), or it cannot play this. Pure.
 */

/** Waits grow up to this: the server keeps the place in its queue for 3 s at least. */
const WAIT_MS_MAX = 2_000;
/** A minute of waiting. */
const TRIES_MAX = 32;
/** From then on the listener should know. */
const TOLD_AT = 4;
/** For media that cannot be decoded another address is the only hope. */
const HOPELESS_TRIES_MAX = 1;

export class Retries {
  #tries = 0;

  /** Another failure. Answers the ms to wait before the next attempt; null: there is none. */
  next(hopeless: boolean): number | null {
    if (this.#tries >= (hopeless ? HOPELESS_TRIES_MAX : TRIES_MAX)) {
      this.reset();
      return null;
    }
    const ms = Math.min(this.#tries * 1_000, WAIT_MS_MAX);
    this.#tries += 1;
    return ms;
  }

  /** Whether this is the failure with which the listener is to be told. */
  get telling(): boolean {
    return this.#tries === TOLD_AT;
  }

  reset(): void {
    this.#tries = 0;
  }
}
