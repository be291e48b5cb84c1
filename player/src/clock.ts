/**
 * Server time from a handful of round trips: the eight whose error is bounded best are kept, the best is trusted.
 * Pure: local time comes in as an argument. A sample says `t0` sent and `t3` answered (local), `t1` received and
 * `t2` sent (server), all in ms; its offset is wrong by at most half its delay, and what the clocks drift apart since.
 * The reference is `playhead.playback.clock_offset`; tests/vectors/clock.json holds both to the same answers.
 */

export const SAMPLES_MAX = 8;
/** How much faster or slower than another one a computer's clock may run. */
export const DRIFT_MAX = 100e-6;
/** The server shows whole milliseconds. */
export const RESOLUTION_MS = 1;

interface Sample {
  readonly offsetMs: number;
  readonly delayMs: number;
  readonly askedMs: number;
}

export class ClockEstimator {
  #samples: Sample[] = [];

  /** Takes one round trip. An impossible one is dropped; one that contradicts another (the machine slept, its clock
   * was set) makes a new beginning. */
  add(t0: number, t1: number, t2: number, t3: number): void {
    const newest: Sample = { offsetMs: (t1 - t0 + (t2 - t3)) / 2, delayMs: t3 - t0 - (t2 - t1), askedMs: t0 };
    const finite = [t0, t1, t2, t3].every(Number.isFinite);
    const fasterMs = RESOLUTION_MS + DRIFT_MAX * (t3 - t0);
    if (!finite || t0 > t3 || t1 > t2 || newest.delayMs < -fasterMs) return;
    const agrees = (other: Sample): boolean =>
      Math.abs(other.offsetMs - newest.offsetMs) <= errorMs(other, t3) + errorMs(newest, t3);
    const kept = this.#samples.every(agrees) ? this.#samples : [];
    const samples = [...kept, newest];
    if (samples.length > SAMPLES_MAX) {
      // not the oldest: while answers come late, a good one from before says more. Of equals the first, the oldest.
      const worst = samples.reduce((one, other) => (errorMs(other, t3) > errorMs(one, t3) ? other : one));
      samples.splice(samples.indexOf(worst), 1);
    }
    this.#samples = samples;
  }

  #best(localMs: number): Sample | null {
    const better = (best: Sample | null, one: Sample): Sample =>
      best && errorMs(best, localMs) <= errorMs(one, localMs) ? best : one;
    return this.#samples.reduce(better, null as Sample | null);
  }

  /** Server time at local time `localMs`; local time itself before the first sample. */
  serverMs(localMs: number): number {
    return localMs + (this.#best(localMs)?.offsetMs ?? 0);
  }

  /** Bound of the error in ms at local time `localMs`; infinite before the first sample. */
  uncertaintyMs(localMs: number): number {
    const best = this.#best(localMs);
    return best ? errorMs(best, localMs) : Number.POSITIVE_INFINITY;
  }

  get sampleCount(): number {
    return this.#samples.length;
  }
}

function errorMs(sample: Sample, localMs: number): number {
  return sample.delayMs / 2 + RESOLUTION_MS + DRIFT_MAX * Math.abs(localMs - sample.askedMs);
}
