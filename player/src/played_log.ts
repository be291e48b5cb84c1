/**
 * What has sounded here and the server has not heard of: stretches of the script, with the times at which they ran.
 * Pure: places and times come in, in ms. Looks that follow each other on the way of the sound make one stretch; a seek,
 * a pause, a loop's fold or a sleep of the machine between two of them begins another one.
 */

/** Audio from one place to another, played between two times. */
export interface Stretch {
  readonly startMs: number;
  readonly endMs: number;
  readonly startedAtMs: number;
  readonly endedAtMs: number;
}

/** Past it the oldest is forgotten. */
export const STRETCHES_MAX = 5_000;
/** How far the way between two looks may be from what runs in that time: a short stall is part of a stretch. */
const UNEVEN_MS_MAX = 400;
/** A sound that was to run and did not for so long has nobody who waits for it. */
export const QUIET_MS_MAX = 60_000;

export class PlayedLog {
  #stretches: Stretch[] = [];
  /** The last stretch still grows. */
  #running = false;
  /** When it was last heard while it was to sound. */
  #heardAtMs: number | null = null;
  #brokenOff = false;

  /** Oldest first. */
  stretches(): readonly Stretch[] {
    return this.#stretches.filter(({ startMs, endMs, startedAtMs, endedAtMs }) => endMs > startMs && endedAtMs > startedAtMs);
  }

  /** The sound is at `placeMs`, and moves at `rate`. */
  sounds(placeMs: number, atMs: number, rate: number): void {
    if (this.#heardAtMs !== null && atMs - this.#heardAtMs > QUIET_MS_MAX) this.#brokenOff = true;
    this.#heardAtMs = atMs;
    const last = this.#stretches.at(-1);
    if (last && this.#running) {
      const [ranMs, tookMs] = [placeMs - last.endMs, atMs - last.endedAtMs];
      if (ranMs >= 0 && tookMs >= 0 && Math.abs(ranMs - tookMs * rate) <= UNEVEN_MS_MAX) {
        this.#stretches[this.#stretches.length - 1] = { ...last, endMs: placeMs, endedAtMs: atMs };
        return;
      }
    }
    this.#begin(placeMs, atMs);
  }

  /** The sound is to run, and stands. */
  waits(): void {
    this.#running = false;
  }

  /** It is not to run: nobody waits for it. */
  rests(): void {
    this.#running = false;
    this.#heardAtMs = null;
    this.#brokenOff = false;
  }

  /** Whether somebody still listens: it has run, or was to, without a long silence. */
  goesOn(atMs: number): boolean {
    return !this.#brokenOff && (this.#heardAtMs === null || atMs - this.#heardAtMs <= QUIET_MS_MAX);
  }

  /** What runs is another stretch from now on: those before stay as they are. */
  cut(): void {
    const last = this.#stretches.at(-1);
    if (last && this.#running) this.#begin(last.endMs, last.endedAtMs);
  }

  /** The server has heard of everything up to that time. */
  told(untilMs: number): void {
    this.#brokenOff = false;
    const last = this.#stretches.at(-1);
    if (last && last.endedAtMs <= untilMs) this.cut();
    this.#stretches = this.#stretches
      .filter((one, row) => one.endedAtMs > untilMs || (this.#running && row === this.#stretches.length - 1))
      .map((one) => after(one, untilMs));
  }

  clear(): void {
    this.#stretches = [];
    this.rests();
  }

  #begin(placeMs: number, atMs: number): void {
    this.#stretches.push({ startMs: placeMs, endMs: placeMs, startedAtMs: atMs, endedAtMs: atMs });
    if (this.#stretches.length > STRETCHES_MAX) this.#stretches.shift();
    this.#running = true;
  }
}

/** What of a stretch ran after that time. */
function after(stretch: Stretch, untilMs: number): Stretch {
  const { startMs, endMs, startedAtMs, endedAtMs } = stretch;
  if (untilMs <= startedAtMs || untilMs >= endedAtMs) return stretch;
  const part = (untilMs - startedAtMs) / (endedAtMs - startedAtMs);
  return { ...stretch, startMs: Math.round(startMs + (endMs - startMs) * part), startedAtMs: untilMs };
}
