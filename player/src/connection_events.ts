/** What a connection tells of the line, and is told by who uses it. */

import type { Ask } from "./catch_up.ts";
import type {
  BookmarkChange,
  DevicesTold,
  Expiring,
  JoinAck,
  Preparation,
  SessionEnded,
  SessionStarted,
  State,
  StreamRenewed,
  WireError,
} from "./wire.ts";

export type Status = "connecting" | "connected" | "reconnecting" | "refused";

export interface ConnectionEvents {
  status(status: Status): void;
  /** The server does not want this connection, and asking again will not help. */
  refused(error: WireError): void;
  /**
   * The first snapshot of a line, before anything else is said on it. Null: nothing is to be said. Else `joined` comes with
   * what this answers; with null the line was lost.
   */
  catchUp(ack: JoinAck, ask: Ask): Promise<JoinAck | null> | null;
  joined(ack: JoinAck): void;
  joinFailed(error: WireError): void;
  state(state: State): void;
  devices(told: DevicesTold): void;
  sessionStarted(event: SessionStarted): void;
  sessionEnded(event: SessionEnded): void;
  bookmark(change: BookmarkChange): void;
  prepared(event: Preparation): void;
  streamRenewed(event: StreamRenewed): void;
  /** The token runs out soon, and the connection with it. */
  expiring(event: Expiring): void;
  /** The latest confirmed state of the joined script. */
  latest(): State | null;
}
