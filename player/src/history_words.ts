/** What an entry of the history is to its listener, in words. Pure. */

import type { Device, HistoryEntry } from "./wire.ts";

const LEFT_BY: Readonly<Record<string, string>> = {
  seek: "Left by a jump",
  play: "Left by a jump",
  progress: "Left by a jump",
  restore: "Left by going back",
  loop: "Left by a loop",
  offline: "Left by offline listening",
  transfer: "Sound moved away",
  end: "Ended here",
};

/** `at`: the entry's time as the page shows it. */
export function wordsOf(entry: HistoryEntry, devices: readonly Device[], at: string): string {
  const what = entry.kind === "conflict" ? "Reported, not taken" : (LEFT_BY[entry.cause] ?? "Left by a change");
  const device = devices.find(({ id }) => id === entry.device_id)?.name;
  return [what, device, at].filter((part) => part !== undefined).join(" · ");
}
