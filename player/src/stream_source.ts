/**
 * Asks the server where a script is heard, and loads that: the file that the session plays, be it the script's or one that
 * it had before. Knows nothing of commands.
 */

import type { Api } from "./api.ts";
import { Refusal } from "./refusal.ts";
import type { Sound } from "./sound.ts";
import type { Script, State } from "./wire.ts";

/** After a script was taken back (`playhead revoke --script`), what is answered at once is refused for some seconds, too. */
export const RENEW_EVERY_MS = 2_000;

export class StreamSource {
  readonly #api: Api;
  readonly #sound: Sound;
  readonly #state: () => State | null;
  readonly #problem: (message: string) => void;
  #script: Script | null = null;
  /** The version that was asked for last: once, as the server may not have it any more. */
  #askedFor: string | null = null;
  #resting = false;
  #refusedAgain = false;
  /** Questions that are not answered yet. */
  #asking = 0;
  /** Set from a refusal that will pass until the next question. */
  #retryTimer: ReturnType<typeof setTimeout> | undefined;
  #troubleTold = false;

  constructor(api: Api, sound: Sound, state: () => State | null, problem: (message: string) => void) {
    this.#api = api;
    this.#sound = sound;
    this.#state = state;
    this.#problem = problem;
  }

  /** From now on it is this script; null: none. */
  open(script: Script | null): void {
    this.#script = script;
    this.#troubleTold = false;
    void this.load();
  }

  /** The address is no longer honoured: asks for another one, once in RENEW_EVERY_MS. */
  renew(): void {
    if (this.#resting) {
      this.#refusedAgain = true;
      return;
    }
    this.#resting = true;
    void this.load();
    setTimeout(() => {
      const again = this.#refusedAgain;
      this.#resting = this.#refusedAgain = false;
      if (again) this.renew();
    }, RENEW_EVERY_MS);
  }

  async load(): Promise<void> {
    this.#rest();
    const script = this.#script;
    if (!script) return;
    const version = this.#state()?.media_version ?? null;
    this.#askedFor = version;
    this.#asking += 1;
    try {
      const stream = await this.#api.stream(script.script_id, version);
      if (script !== this.#script) return;
      this.#troubleTold = false;
      this.#sound.load(stream.stream_url, stream.loudness?.gain_db ?? null);
      this.follow();
    } catch (error) {
      if (script === this.#script && error instanceof Refusal) this.#refused(error);
    } finally {
      this.#asking -= 1;
    }
  }

  /** Loads another file where the session plays another one than is loaded. */
  follow(): void {
    const version = this.#state()?.media_version ?? null;
    const loaded = this.#sound.mediaVersion;
    if (version === null || version === loaded || version === this.#askedFor) return;
    // Whatever is on its way comes first: only then it is known to be another one.
    if (loaded === null && (this.#asking > 0 || this.#retryTimer !== undefined)) return;
    void this.load();
  }

  /** What a moment later may succeed is asked again as long as the script is open; the trouble is told once. */
  #refused(error: Refusal): void {
    if (!this.#troubleTold) this.#problem(error.message);
    this.#troubleTold = true;
    if (!error.retry) return;
    this.#rest();
    this.#retryTimer = setTimeout(() => void this.load(), RENEW_EVERY_MS);
  }

  #rest(): void {
    clearTimeout(this.#retryTimer);
    this.#retryTimer = undefined;
  }
}
