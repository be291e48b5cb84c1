/**
 * Tells the server what this device really plays: every 10 s, and when sound starts anew, stops, the page hides or goes.
 * Only the active device speaks. A report waits while a command is under way, or another report, so that it carries the
 * revision after it.
 */

import type { SoundFigures } from "./quality.ts";
import type { Ack, State, StateAck } from "./wire.ts";

export const REPORT_INTERVAL_MS = 10_000;
const SEQ_KEY = "playhead.seq";

export interface ReportSource {
  /** The confirmed state if this device is the active one, else null. */
  activeState(): State | null;
  /** Whether a command of ours is under way. */
  busy(): boolean;
  /** What was really heard up to now; null before anything is loaded. */
  positionMs(): number | null;
  /** Server time; null as long as it is not known. */
  serverMs(): number | null;
  /** Whether the element is meant to run; a stall counts as running. */
  sounding(): boolean;
  /** How well it has sounded since the last report. */
  figures(): SoundFigures;
  send(payload: object): Promise<Ack<StateAck> | null>;
  sendLast(payload: object): void;
  /** `atMs`: the server time at which the place of the report was taken. */
  answered(ack: Ack<StateAck>, atMs: number): void;
}

export class Reports {
  readonly #source: ReportSource;
  #due = false;
  #underWay = false;

  constructor(source: ReportSource) {
    this.#source = source;
    setInterval(() => source.sounding() && this.report(), REPORT_INTERVAL_MS);
  }

  /** Whether one is not answered yet. */
  get underWay(): boolean {
    return this.#underWay;
  }

  report(): void {
    this.#due = true;
    this.flush();
  }

  /** Sends what waited for a command's answer, or for that of the report before: it may bring another revision. */
  flush(): void {
    if (!this.#due || this.#underWay || this.#source.busy()) return;
    this.#due = false;
    const payload = this.#payload();
    if (payload) void this.#send(payload);
  }

  async #send(payload: object): Promise<void> {
    const atMs = this.#source.serverMs() ?? 0;
    this.#underWay = true;
    const ack = await this.#source.send(payload).finally(() => (this.#underWay = false));
    if (ack) this.#source.answered(ack, atMs);
    this.flush();
  }

  /** The page goes away: whatever was heard up to now is said, and no answer awaited. */
  last(): void {
    const payload = this.#payload();
    if (payload) this.#source.sendLast(payload);
  }

  #payload(): object | null {
    const state = this.#source.activeState();
    const positionMs = this.#source.positionMs();
    const serverMs = this.#source.serverMs();
    if (!state || positionMs === null) return null;
    return {
      session_id: state.session_id,
      position: Math.min(positionMs / 1000, state.duration),
      rate: state.rate,
      playing: state.playing && this.#source.sounding(),
      revision: state.revision,
      seq: nextSeq(),
      ...(serverMs !== null && { at: Math.round(serverMs) }),
      ...this.#source.figures(),
    };
  }
}

/** Counts on over reloads: the server knows the highest number of this device and takes no lower one. */
function nextSeq(): number {
  const seq = Number(sessionStorage.getItem(SEQ_KEY) ?? 0) + 1;
  sessionStorage.setItem(SEQ_KEY, String(seq));
  return seq;
}
