/**
 * Asks the server for its time: a burst when a line opens, then now and then as long as it stays.
 * Knows no socket: `ask` brings the answer, null where none came.
 */

import { SAMPLES_MAX, type ClockEstimator } from "./clock.ts";
import type { Ack, ClockAck } from "./wire.ts";

const BURST_GAP_MS = 60;
const INTERVAL_MS = 10_000;
/** The longest round trip that the server takes note of. */
const RTT_MS_MAX = 60_000;

const wait = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

export interface ClockLine {
  ask(payload: object): Promise<Ack<ClockAck> | null>;
  connected(): boolean;
  localMs(): number;
}

export class ClockSampler {
  readonly #clock: ClockEstimator;
  readonly #line: ClockLine;
  #timer: ReturnType<typeof setTimeout> | undefined;
  /** The last round trip, which the server is told with the next one. */
  #rttMs: number | undefined;

  constructor(clock: ClockEstimator, line: ClockLine) {
    this.#clock = clock;
    this.#line = line;
  }

  /** How long the last question was on its way, there and back; 0 before the first answer. */
  get rttMs(): number {
    return this.#rttMs ?? 0;
  }

  /** A line is open. The first question is on its way when this returns. */
  async opened(): Promise<void> {
    this.closed();
    await this.sample(SAMPLES_MAX);
    this.#keepSampling();
  }

  closed(): void {
    clearTimeout(this.#timer);
  }

  async sample(count: number): Promise<void> {
    for (let taken = 0; taken < count && this.#line.connected(); taken += 1) {
      if (taken > 0) await wait(BURST_GAP_MS);
      const answer = await this.#line.ask({ t0: this.#line.localMs(), rtt_ms: this.#rttMs });
      const t3 = this.#line.localMs();
      if (!answer?.ok) continue;
      this.#clock.add(answer.t0, answer.t1, answer.t2, t3);
      // What the server took is no part of the way.
      this.#rttMs = Math.min(RTT_MS_MAX, Math.max(0, t3 - answer.t0 - (answer.t2 - answer.t1)));
    }
  }

  #keepSampling(): void {
    this.closed();
    if (!this.#line.connected()) return;
    this.#timer = setTimeout(() => void this.sample(1).then(() => this.#keepSampling()), INTERVAL_MS);
  }
}
