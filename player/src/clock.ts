/**
 * Server time from a handful of round trips: eight samples, and the one with the least delay is trusted.
 * Pure: local time comes in as an argument. A sample says `t0` sent and `t3` answered (local), `t1` received and
 * `t2` sent (server), all in ms; its offset is wrong by at most half its delay.
 */

export const SAMPLES_MAX = 8;
/** How far two honest samples may be apart beyond their own error before the local clock must have jumped. */
export const DRIFT_MS_MAX = 50;

interface Sample {
  readonly offsetMs: number;
  readonly delayMs: number;
}

export class ClockEstimator {
  #samples: Sample[] = [];

  /** Takes one round trip. Samples that contradict it (the machine slept, its clock was set) are forgotten. */
  add(t0: number, t1: number, t2: number, t3: number): void {
    const newest: Sample = {
      offsetMs: (t1 - t0 + (t2 - t3)) / 2,
      delayMs: Math.max(0, t3 - t0 - (t2 - t1)),
    };
    const agrees = (other: Sample): boolean =>
      Math.abs(other.offsetMs - newest.offsetMs) <= (other.delayMs + newest.delayMs) / 2 + DRIFT_MS_MAX;
    this.#samples = [...this.#samples.filter(agrees), newest].slice(-SAMPLES_MAX);
  }

  get #best(): Sample | null {
    return this.#samples.reduce<Sample | null>((best, one) => (best && best.delayMs <= one.delayMs ? best : one), null);
  }

  /** Server time at local time `localMs`; local time itself before the first sample. */
  serverMs(localMs: number): number {
    return localMs + (this.#best?.offsetMs ?? 0);
  }

  /** Bound of the error in ms; infinite before the first sample. */
  get uncertaintyMs(): number {
    const best = this.#best;
    return best ? best.delayMs / 2 : Number.POSITIVE_INFINITY;
  }

  get sampleCount(): number {
    return this.#samples.length;
  }
}
