/** States to try things on: a playing session, unless a test says otherwise. */

import type { State } from "../src/wire.ts";

export const NOW_MS = 1_767_225_600_000;

export function aState(fields: Partial<State> = {}): State {
  return {
    session_id: "session-1",
    script_id: "script-1",
    epoch: 1,
    revision: 1,
    playing: true,
    position: 0,
    anchored_at: NOW_MS,
    rate: 1,
    loop: null,
    mode: "handoff",
    active_device: "device-1",
    sleep_at: null,
    sleep_at_end_of_loop: false,
    duration: 60,
    media_version: "0123456789abcdef",
    ended: false,
    cause: { command: "play", device_id: "device-1", command_id: null },
    ...fields,
  };
}
