/** How hls.js fetches: what it keeps around the place that is heard, which rung it begins with, and how it waits. */

import Hls, { type HlsConfig } from "hls.js/light";

import { patient } from "./patient_loader.ts";

/** The first rung to play is the best one up to this; the player adapts from there. */
const FIRST_RUNG_BITS_MAX = 160_000;

/** What hls.js is made with. `busy`: the server has put off for a minute what is asked for; it is asked on. */
export function hlsConfig(busy: () => void): Partial<HlsConfig> {
  return {
    autoStartLoad: false,
    startFragPrefetch: true,
    testBandwidth: false,
    // hls.js takes the first for the least that it fetches ahead, and of sound all that fits into 60 MB.
    maxBufferLength: 30,
    maxMaxBufferLength: 30,
    backBufferLength: 30,
    abrEwmaDefaultEstimate: 1_000_000,
    // Nothing is transmuxed, so a worker would only cost a `worker-src` in the page's policy.
    enableWorker: false,
    loader: patient(Hls.DefaultConfig.loader, busy),
  };
}

/** The number of the rung to begin with; undefined where hls.js has to choose. */
export function firstLevel(levels: readonly { readonly bitrate: number }[]): number | undefined {
  const rungs = levels.map((level, index) => ({ bits: level.bitrate, index }));
  return rungs.filter((rung) => rung.bits <= FIRST_RUNG_BITS_MAX).sort((a, b) => b.bits - a.bits)[0]?.index;
}
