/**
 * How a press becomes a command: shown at once, sent when those before it are answered, and shown as the server says from
 * its answer on.
 * Knows nothing of sound or page.
 */

import { localMs, type Connection } from "./connection.ts";
import { uuid } from "./identity.ts";
import { NOT_CONNECTED, Refusal } from "./refusal.ts";
import type { Prediction, SessionView } from "./session_view.ts";
import type { State, StateAck } from "./wire.ts";

export interface CommandEvents {
  /** What is to be shown and to sound may be another than before. */
  changed(): void;
  /** A command was answered, or given up. */
  settled(): void;
  /** A state of the script that is open. */
  told(state: State): void;
  problem(message: string): void;
}

export interface Press {
  /** What it will do, shown before the answer. */
  readonly predict?: Prediction;
  /** The script that it is for, where that is not the one that is open: its answer and its trouble are not shown. */
  readonly forScript?: string | null;
  /** What it does stays when the line is to blame that nobody answers. */
  readonly keep?: boolean;
}

export class Commands {
  connection: Connection | null = null;
  readonly #view: SessionView;
  readonly #nowMs: () => number;
  readonly #scriptId: () => string | null;
  readonly #events: CommandEvents;
  /** By script, the last press whose command is not answered yet: it is over when this is. */
  readonly #turns = new Map<string | null, Promise<void>>();

  /** `nowMs`: server time; `scriptId`: of the script that is open. */
  constructor(view: SessionView, nowMs: () => number, scriptId: () => string | null, events: CommandEvents) {
    this.#view = view;
    this.#nowMs = nowMs;
    this.#scriptId = scriptId;
    this.#events = events;
  }

  /** A command to the live session; without one there is nothing to steer. */
  async steer(event: string, fields: object, press: Press = {}): Promise<void> {
    const { state } = this.#view;
    if (state) await this.send(event, { session_id: state.session_id, ...fields }, press);
  }

  /** Answers the ack, or null where there is none or it is a refusal. */
  async send(event: string, payload: object, press: Press = {}): Promise<StateAck | null> {
    if (!this.connection) return null;
    const { predict, forScript = this.#scriptId(), keep = false } = press;
    const commandId = uuid();
    const pressedAtMs = localMs();
    this.#view.begin(commandId, this.#shown(predict));
    this.#events.changed();
    const turn = this.#turn(forScript);
    let answered = true;
    let base = this.#view.state;
    try {
      if (turn.before) await turn.before;
      base = forScript === this.#scriptId() ? this.#view.state : null;
      if (!this.connection) throw new Refusal(NOT_CONNECTED);
      const ack = await this.connection.command(event, payload, commandId, base, pressedAtMs);
      this.#take(ack.state, forScript);
      return ack;
    } catch (error) {
      if (!(error instanceof Refusal)) throw error;
      answered = !error.unanswered;
      this.#take(error.detail.state ?? null, forScript);
      if (forScript === this.#scriptId()) this.#events.problem(error.message);
      return null;
    } finally {
      if (answered) this.#view.settle(commandId);
      else this.#view.giveUp(commandId, keep && base === this.#view.state);
      turn.over();
      this.#events.settled();
    }
  }

  /** Commands of one script go one after the other: a refused one that is sent again would overtake those after it. */
  #turn(script: string | null): { before: Promise<void> | undefined; over: () => void } {
    const before = this.#turns.get(script);
    let done = (): void => undefined;
    const mine = new Promise<void>((resolve) => (done = resolve));
    this.#turns.set(script, mine);
    const over = (): void => {
      if (this.#turns.get(script) === mine) this.#turns.delete(script);
      done();
    };
    return { before, over };
  }

  /** In unison the server says when it happens, on all devices at one moment that lies a little ahead. */
  #shown(predict: Prediction | undefined): Prediction | null {
    if (!predict || this.#view.state?.mode === "together") return null;
    const pressedAtMs = this.#nowMs();
    return (before) => ({ ...predict(before), anchoredAtMs: pressedAtMs, reported: false });
  }

  #take(state: State | null, forScript: string | null): void {
    if (state && state.script_id === forScript && forScript === this.#scriptId()) this.#events.told(state);
  }
}
