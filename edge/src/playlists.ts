/**
 * HLS playlists from a script's facts, byte for byte those of the origin (`playhead.media.playlists`, which names the clauses).
 *
 * Pure: 48 kHz, frames of 1,024 samples and one more for the encoder's priming, segments of 270 frames. Integers alone.
 */

const RATE_HZ = 48_000;
const FRAME_SAMPLES = 1_024;
const SEGMENT_FRAMES = 270;
const PEAK_PERCENT = 110;
const AVERAGE_PERCENT = 102;
const CODECS = "mp4a.40.2";
const HEAD = ["#EXTM3U", "#EXT-X-VERSION:7"];
/** A week: no upload is longer, and no playlist may fill an isolate's memory. */
const SAMPLES_MAX = 7 * 24 * 3_600 * RATE_HZ;
const RUNGS_MAX = 16;

/** What the origin's `grid.json` says. Rungs stand in the order that players shall see. */
export interface Facts {
  readonly totalSamples: number;
  readonly rungs: readonly { readonly name: string; readonly bitsPerS: number }[];
}

/** The facts in `text`, or null when these are none. */
export function parseFacts(text: string): Facts | null {
  let raw: unknown;
  try {
    raw = JSON.parse(text);
  } catch {
    return null;
  }
  const found = raw as { total_samples?: unknown; rungs?: unknown } | null;
  const totalSamples = found?.total_samples;
  if (!isCount(totalSamples, SAMPLES_MAX) || !Array.isArray(found?.rungs) || found.rungs.length > RUNGS_MAX) return null;
  const rungs = [];
  for (const rung of found.rungs as { name?: unknown; bits_per_s?: unknown }[]) {
    if (typeof rung?.name !== "string" || !isCount(rung.bits_per_s, Number.MAX_SAFE_INTEGER)) return null;
    rungs.push({ name: rung.name, bitsPerS: rung.bits_per_s });
  }
  return { totalSamples, rungs };
}

function isCount(value: unknown, max: number): value is number {
  return Number.isSafeInteger(value) && (value as number) > 0 && (value as number) <= max;
}

export function multivariantPlaylist(facts: Facts): string {
  const lines = [...HEAD, "#EXT-X-INDEPENDENT-SEGMENTS"];
  for (const { name, bitsPerS } of facts.rungs) {
    const peak = Math.floor((bitsPerS * PEAK_PERCENT) / 100);
    const average = Math.floor((bitsPerS * AVERAGE_PERCENT) / 100);
    lines.push(`#EXT-X-STREAM-INF:BANDWIDTH=${peak},AVERAGE-BANDWIDTH=${average},CODECS="${CODECS}"`, `${name}/index.m3u8`);
  }
  return [...lines, ""].join("\n");
}

/** How many segments each rung has. */
export function segmentsOf(facts: Facts): number {
  return Math.ceil(framesOf(facts) / SEGMENT_FRAMES);
}

/** The segments of one rung; the same text for every rung. */
export function mediaPlaylist(facts: Facts): string {
  const frames = framesOf(facts);
  const lines = [
    ...HEAD,
    "#EXT-X-TARGETDURATION:6",
    "#EXT-X-MEDIA-SEQUENCE:0",
    "#EXT-X-PLAYLIST-TYPE:VOD",
    "#EXT-X-INDEPENDENT-SEGMENTS",
    '#EXT-X-MAP:URI="init.mp4"',
  ];
  for (let first = 0, segment = 0; first < frames; first += SEGMENT_FRAMES, segment += 1) {
    lines.push(`#EXTINF:${seconds(Math.min(SEGMENT_FRAMES, frames - first) * FRAME_SAMPLES)},`, `${segment}.m4s`);
  }
  return [...lines, "#EXT-X-ENDLIST", ""].join("\n");
}

function framesOf(facts: Facts): number {
  return Math.ceil(facts.totalSamples / FRAME_SAMPLES) + 1;
}

function seconds(samples: number): string {
  const micros = Math.floor(((samples % RATE_HZ) * 1_000_000) / RATE_HZ);
  return `${Math.floor(samples / RATE_HZ)}.${String(micros).padStart(6, "0")}`;
}
