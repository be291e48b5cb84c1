/**
 * The listener's other scripts than the one that is open here: where they sound, that one whose sound is moved here is
 * opened, and that nothing of what was left here runs on in silence. Knows nothing of sound.
 */

import type { Api } from "./api.ts";
import type { Commands } from "./commands.ts";
import { Elsewhere } from "./elsewhere.ts";
import { Strays } from "./strays.ts";
import type { State } from "./wire.ts";

export interface OtherScriptsEvents {
  changed(): void;
  /** Somebody lets another script sound on this device. */
  movedHere(scriptId: string): void;
  /** What has become of a session that was left. */
  told(state: State): void;
}

export class OtherScripts {
  readonly #deviceId: string;
  readonly #commands: Commands;
  readonly #events: OtherScriptsEvents;
  readonly #elsewhere = new Elsewhere();
  readonly #strays: Strays;
  #openId: string | null = null;

  constructor(deviceId: string, api: Api, commands: Commands, events: OtherScriptsEvents) {
    this.#deviceId = deviceId;
    this.#commands = commands;
    this.#events = events;
    this.#strays = new Strays(deviceId, {
      playing: async () => (await api.sessions()).filter(({ playing }) => playing).map(({ session_id }) => session_id),
      look: async (sessionId) => await commands.connection?.look(sessionId),
      wanted: (state) => this.#wants(state),
      send: async (event, payload) => (await commands.send(event, payload, { forScript: null })) !== null,
    });
  }

  /** The latest state of one of them. */
  get state(): State | null {
    return this.#elsewhere.state;
  }

  /** Null: none is open. */
  opened(scriptId: string | null): void {
    this.#openId = scriptId;
    this.#elsewhere.opened(scriptId);
  }

  take(state: State): void {
    if (!this.#elsewhere.take(state)) return;
    this.#events.changed();
    if (this.#elsewhere.movedTo(this.#deviceId)) this.#events.movedHere(state.script_id);
  }

  ended(sessionId: string): void {
    this.#elsewhere.ended(sessionId);
  }

  /** Stops what sounds here of a script that is not open any more. `heardMs`: where the sound is, where that is known. */
  async leave(sessionId: string, heardMs: number | null): Promise<void> {
    this.#elsewhere.leave(sessionId);
    const ack = await this.#commands.send("leave", { session_id: sessionId }, { forScript: null });
    this.#elsewhere.left(sessionId);
    if (ack?.state) this.#events.told(ack.state);
    if (!ack) this.#strays.left(sessionId, heardMs);
  }

  /** The line has brought a snapshot. */
  joined(): void {
    void this.#strays.stop();
  }

  /** Open here, or about to be, as somebody lets it sound here. */
  #wants(state: State): boolean {
    const moved = this.#elsewhere.movedTo(this.#deviceId) && this.#elsewhere.state?.session_id === state.session_id;
    return moved || state.script_id === this.#openId;
  }
}
