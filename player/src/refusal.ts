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
}
