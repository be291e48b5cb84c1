/**
 * How loud the element plays. Pure.
 *
 * An element's volume only turns down. To turn up takes an AudioContext, which keeps silent until a gesture, on iOS for ever
 * with native HLS: a script that is quieter than the others stays so, rather than not to sound.
 */

/** The volume, 0 to 1, for a gain in dB; all of it where none is known. */
export function volumeFor(gainDb: number | null): number {
  return gainDb === null || !Number.isFinite(gainDb) ? 1 : Math.min(1, 10 ** (gainDb / 20));
}
