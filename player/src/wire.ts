/**
 * The shapes that travel between this page and the server: events, acks, REST answers.
 * Owns types alone. On the wire places are seconds and times are server milliseconds since the Unix epoch;
 * `playhead.ts` turns them into milliseconds once, at this edge.
 */

export interface WireLoop {
  start: number;
  end: number;
  enabled: boolean;
}

/** Full state of one session, as `state` events and acks carry it. */
export interface State {
  session_id: string;
  script_id: string;
  epoch: number;
  revision: number;
  playing: boolean;
  position: number;
  anchored_at: number;
  rate: number;
  loop: WireLoop | null;
  mode: "handoff" | "together";
  active_device: string | null;
  sleep_at: number | null;
  sleep_at_end_of_loop: boolean;
  duration: number;
  /** The file that is played; the script may have another one by now. Null: the server does not know it yet. */
  media_version: string | null;
  ended: boolean;
  /** Null in a snapshot. */
  cause: { command: string; device_id: string | null; command_id: string | null } | null;
}

export interface Device {
  id: string;
  name: string;
  kind: string;
  connected_at: number;
}

/** All connected devices. Of two lists the one with the higher `(epoch, version)` is the later one. */
export interface DevicesTold {
  devices: Device[];
  devices_order: { epoch: number; version: number };
}

/** Where a listener stopped when no session is live. */
export interface Place {
  position: number;
  finished: boolean;
}

/** A named refusal: what went wrong, what to do, and whether the same call may succeed later. */
export interface WireError {
  code: string;
  message: string;
  retry: boolean;
  /** How long to wait before the same call may succeed, where the server knows. */
  retry_after_ms?: number;
  state?: State | null;
  reported?: number | null;
}

export interface JoinAck extends DevicesTold {
  ok: true;
  state: State | null;
  place: Place | null;
  server_time: number;
}

export interface StateAck {
  ok: true;
  state: State | null;
  server_time: number;
}

export interface PlayAck {
  ok: true;
  state: State;
  created: boolean;
  stream_url: string;
  server_time: number;
}

export interface ClockAck {
  ok: true;
  t0: number;
  t1: number;
  t2: number;
}

export interface ErrorAck {
  ok: false;
  error: WireError;
}

export type Ack<Good> = Good | ErrorAck;

export interface SessionStarted {
  session_id: string;
  script_id: string;
  state: State;
}

export interface SessionEnded {
  session_id: string;
  script_id: string;
  reason: string;
}

/** The last word of a server that ends this connection; with `retry: false` the same token is not taken again. */
export interface Closing {
  code: string;
  message: string;
  retry: boolean;
  retry_after_ms?: number;
}

/** A newer address of the stream that this connection's `play` was answered with. */
export interface StreamRenewed {
  script_id: string;
  session_id: string;
  stream_url: string;
  expires_at: number;
}

/** How far a script that was joined is prepared; `progress` from 0 to 1. It can be heard before it is `ready`. */
export interface Preparation {
  script_id: string;
  status: Script["status"];
  progress: number;
}

/** The server process goes away: connect again after this time, which is another one for each device. */
export interface Draining {
  retry_after_ms: number;
}

/** When the token of this connection runs out, in server ms. */
export interface Expiring {
  expires_at: number;
}

export interface Script {
  script_id: string;
  title: string;
  duration: number;
  status: "queued" | "processing" | "ready" | "failed";
  progress: number;
  error: string | null;
}

/** A chapter; `title` null where the file gives it no name. */
export interface Chapter {
  position: number;
  title: string | null;
}

/** One script looked at closely; `marks` are ordered by position. */
export interface ScriptDetails extends Script {
  artist: string | null;
  has_cover: boolean;
  marks: Chapter[];
}

/** One move of the playhead, or a place that was refused; restoring it leads to `restores`. */
export interface HistoryEntry {
  entry_id: string;
  kind: "move" | "conflict";
  cause: string;
  from: number;
  to: number;
  restores: number;
  device_id: string | null;
  at: string;
}

/** One of the listener's sessions, as it is now. */
export interface ListedSession {
  session_id: string;
  script_id: string;
  playing: boolean;
}

export interface Bookmark {
  bookmark_id: string;
  script_id: string;
  position: number;
  title: string | null;
  note: string | null;
  created_at: string;
  updated_at: string;
}

/** What became of one bookmark, on whichever device; `bookmark` is as it is now, or as it was. */
export interface BookmarkChange {
  action: "created" | "changed" | "deleted";
  bookmark: Bookmark;
}

export interface Stream {
  stream_url: string;
  duration: number;
  bitrate: number;
  format: "hls";
  cached: boolean;
  expires_at: string | number;
  ready: boolean;
  media_version: string;
  loudness: { integrated_lufs: number; true_peak_dbtp: number; gain_db: number } | null;
}
