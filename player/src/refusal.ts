/** A named "no" as an exception: from an ack, from a REST problem, or because the line is down. */

import type { WireError } from "./wire.ts";

export class Refusal extends Error {
  readonly code: string;
  readonly retry: boolean;
  readonly detail: WireError;

  constructor(error: WireError) {
    super(error.message);
    this.name = "Refusal";
    this.code = error.code;
    this.retry = error.retry;
    this.detail = error;
  }

  /** No answer: the line to the server is to blame. */
  get unanswered(): boolean {
    return this.code === NOT_CONNECTED.code || this.code === CONNECTION_LOST.code;
  }
}

export const NOT_CONNECTED: WireError = {
  code: "not_connected",
  message: "There is no connection to the server. Nothing was changed; try again when it is back.",
  retry: true,
};
/** What a server answers that does not know whether it was done. */
export const PERHAPS_DONE: ReadonlySet<string> = new Set(["unavailable", "internal"]);

export const CONNECTION_LOST: WireError = {
  code: "connection_lost",
  message: "The connection broke before the server answered, and playback may have moved on. Look, and press again if needed.",
  retry: false,
};
