/**
 * How well it sounds: how long the listener waits for a sound that was asked for, and how long it stands still later.
 * Knows neither element nor server: it is told what happens with the time of it, and tells each figure once.
 */

export interface SoundFigures {
  stalled_ms?: number;
  first_audio_ms?: number;
}

export class Quality {
  #silentSinceMs: number | null = null;
  #asked = false;
  #stalledMs = 0;
  #firstAudioMs: number | null = null;
  #sounded = false;

  /** A press or a jump wants a sound that is not there yet. */
  asked(nowMs: number): void {
    if (!this.#asked) this.#silentSinceMs = nowMs;
    this.#asked = true;
  }

  /** Nothing comes out though it should. */
  silent(nowMs: number): void {
    this.#silentSinceMs ??= nowMs;
  }

  sounds(nowMs: number): void {
    this.#sounded = true;
    if (this.#silentSinceMs !== null) {
      const silentMs = nowMs - this.#silentSinceMs;
      if (this.#asked) this.#firstAudioMs = silentMs;
      else this.#stalledMs += silentMs;
    }
    this.#forget();
  }

  /** Nothing is to come out any more, or the browser forbids it: that is nobody's wait. */
  stopped(): void {
    this.#forget();
  }

  /** What a report may tell of the time since the one before. */
  take(): SoundFigures {
    const figures: SoundFigures = {};
    if (this.#sounded) figures.stalled_ms = Math.round(this.#stalledMs);
    if (this.#firstAudioMs !== null) figures.first_audio_ms = Math.round(this.#firstAudioMs);
    this.#sounded = false;
    this.#stalledMs = 0;
    this.#firstAudioMs = null;
    return figures;
  }

  #forget(): void {
    this.#silentSinceMs = null;
    this.#asked = false;
  }
}
