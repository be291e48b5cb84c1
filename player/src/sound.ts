/**
 * The speaker of this device: an <audio> element that follows a playhead, fed by hls.js (or by the browser's own HLS).
 * Owns the element, its buffer and the small corrections. Knows nothing of sessions, sockets or page:
 * it is told what to follow (null: be silent) and tells what was really heard.
 *
 *     follow(playhead) -> seek when playback jumped, play or pause -> every 100 ms `drift.ts` decides about the rest
 *
 * Our segments carry an edit list, so the element's time is the source's time, one to one.
 */

import Hls, { type ErrorData } from "hls.js/light";

import { BELIEVED_MS, correction, jumped, lagMs, REANCHOR_MS, UNHEARD_MS } from "./drift.ts";
import { firstLevel, hlsConfig } from "./hls_settings.ts";
import { volumeFor } from "./loudness.ts";
import { mediaVersionOf, StreamAddress } from "./media_urls.ts";
import { Quality, type SoundFigures } from "./quality.ts";
import { endReached, foldingLoop, positionAt, type Playhead } from "./playhead.ts";
import { Retries } from "./retries.ts";
import { SeekDelay } from "./seek_delay.ts";
import type { SoundEvents } from "./sound_events.ts";

const TICK_MS = 100;
/** How long a late start may wait for the playhead to come back to it before the element gives way. */
const LATE_MS_MAX = 2_500;
/** How much longer while a report is under way: it is answered in that time, or the line counts as dead. */
const ANSWER_MS_MAX = 5_000;
/** How soon a place that is still away from the playhead after a report is reported again. */
const REPORT_AGAIN_MS = 300;
/** So long is between two ticks only where page or machine slept: nothing was heard then. */
const SLEPT_MS = 1_500;
/** A loop's end is waited for exactly once it is this near. */
const FOLD_AHEAD_MS = 350;
const FOLD_EARLY_MS = 12;
const RELOAD_DELAY_MS = 2_000;
/** MediaError.MEDIA_ERR_DECODE */
const UNDECODABLE = 3;
const TRYING_AGAIN = "The audio does not load. Trying again.";

export class Sound {
  readonly audio: HTMLAudioElement;
  readonly #serverNowMs: () => number;
  readonly #events: SoundEvents;
  #hls: Hls | null = null;
  readonly #stream = new StreamAddress();
  readonly #quality = new Quality();
  readonly #seekDelay = new SeekDelay();
  readonly #retries = new Retries();
  #retryTimer: ReturnType<typeof setTimeout> | undefined;
  #parsed = false;
  #loading = false;
  #target: Playhead | null = null;
  #startMs: number | null = null;
  #lateSinceMs = 0;
  /** Where the element stood when it was last known to be still: ready, but no sound has come out yet. */
  #stillAtS: number | null = null;
  /** When the server was last told of the start; null: not yet. */
  #reportedMs: number | null = null;
  /** Whether the server hears of this device's place, and brings the playhead to it. */
  #speaks = true;
  #anchorTimer: ReturnType<typeof setTimeout> | undefined;
  #folding = false;
  #foldTimer: ReturnType<typeof setTimeout> | undefined;
  #tickedMs: number;

  constructor(audio: HTMLAudioElement, serverNowMs: () => number, events: SoundEvents) {
    this.audio = audio;
    this.#serverNowMs = serverNowMs;
    this.#events = events;
    this.#tickedMs = serverNowMs();
    audio.preservesPitch = true;
    this.#listen();
    setInterval(() => this.#tick(), TICK_MS);
  }

  /** Where the element is, in ms: what was heard up to now. Null before it is anywhere. */
  get positionMs(): number | null {
    if (this.#startMs !== null) return this.#startMs;
    if (this.audio.readyState < HTMLMediaElement.HAVE_METADATA) return null;
    return Math.round(this.audio.currentTime * 1000);
  }

  /** The version of the media that are loaded; null while there are none. */
  get mediaVersion(): string | null {
    return this.#stream.url === null ? null : mediaVersionOf(this.#stream.url);
  }

  /** Whether sound really comes out: not waiting, not seeking, not blocked. */
  get moving(): boolean {
    return !this.audio.paused && !this.audio.seeking && this.audio.readyState >= HTMLMediaElement.HAVE_FUTURE_DATA;
  }

  /** How well it has sounded since this was asked last. */
  figures(): SoundFigures {
    return this.#quality.take();
  }

  /**
   * Makes a stream the one to play; nothing is fetched beyond its playlist before something is to follow.
   * What plays already is not torn down for a newer signature of the same media: that one is used once it is refused.
   * `gainDb`: what makes it as loud as others; null while that is unknown; left out, it stays as it is.
   */
  load(url: string, gainDb?: number | null): void {
    if (gainDb !== undefined) this.audio.volume = volumeFor(gainDb);
    if (!this.#stream.take(url)) return;
    const target = this.#target;
    // Where it stood or was to begin: nothing of what could not be heard is skipped.
    const waitedMs = this.#speaks && target?.playing ? this.positionMs : null;
    this.#tearDown();
    this.#startMs = waitedMs;
    if (Hls.isSupported()) this.#loadWithHls(url);
    else this.audio.src = url;
    if (target) this.#applyTarget(waitedMs === null ? null : target, target);
  }

  unload(): void {
    this.#tearDown();
    this.#retries.reset();
    this.audio.volume = volumeFor(null);
    this.#stream.clear();
  }

  #tearDown(): void {
    clearTimeout(this.#retryTimer);
    this.#hls?.destroy();
    this.#hls = null;
    this.#parsed = false;
    this.#loading = false;
    this.#startMs = null;
    this.audio.removeAttribute("src");
    this.audio.load();
  }

  /**
   * Sounds as `playhead` says from now on, or from its anchor on where that lies ahead; null is silence.
   * `speaks`: a late start is reported, and the playhead comes back to it; else the sound has to catch up.
   */
  follow(playhead: Playhead | null, speaks = true): void {
    clearTimeout(this.#anchorTimer);
    this.#speaks = speaks;
    const aheadMs = playhead?.playing ? playhead.anchoredAtMs - this.#serverNowMs() : 0;
    if (playhead && aheadMs > 0) {
      this.#anchorTimer = setTimeout(() => this.follow(playhead, speaks), aheadMs);
      // What sounds goes on as before until then; what does not waits at the place where it will begin.
      if (!this.#target?.playing) this.#follow({ ...playhead, playing: false });
    } else {
      this.#follow(playhead);
    }
  }

  #follow(playhead: Playhead | null): void {
    const before = this.#target;
    this.#target = playhead;
    if (!playhead?.playing) this.#stopped();
    else if (!before?.playing) this.#quality.asked(performance.now());
    if (!this.#stream.url) this.#holdPlace(before, playhead);
    else if (playhead) this.#applyTarget(before, playhead);
    if (playhead) return;
    this.audio.pause();
    this.#hls?.stopLoad();
    this.#loading = false;
  }

  #stopped(): void {
    this.#quality.stopped();
    this.#seekDelay.stopped();
  }

  /** There is nothing to play yet. */
  #holdPlace(before: Playhead | null, next: Playhead | null): void {
    const nowMs = this.#serverNowMs();
    if (!next?.playing || !this.#speaks) this.#startMs = null;
    else if (!before?.playing || jumped(before, next, nowMs)) this.#startMs = positionAt(next, nowMs);
  }

  /** To be called inside a gesture: from then on browsers let the element start by itself. */
  unlock(): void {
    if (!this.audio.paused || this.#target?.playing) return;
    this.audio.play().catch(() => undefined);
    this.audio.pause();
  }

  #applyTarget(before: Playhead | null, next: Playhead): void {
    const nowMs = this.#serverNowMs();
    const placeMs = positionAt(next, nowMs);
    this.#startLoading(placeMs);
    const hereMs = this.positionMs;
    const lag = hereMs === null ? 0 : lagMs(next, nowMs, hereMs);
    const moved = !before || !before.playing || !next.playing || jumped(before, next, nowMs);
    // A playhead that has followed this sound is as right as the clock: the rest is played away, and nothing skipped.
    const followed = before?.playing && next.playing && next.reported && this.#speaks;
    const bearableMs = followed ? (lag > 0 ? REANCHOR_MS : BELIEVED_MS) : UNHEARD_MS;
    if (moved && followed && lag <= -REANCHOR_MS) this.#markLate();
    if (moved && Math.abs(lag) >= bearableMs) {
      if (next.playing) this.#quality.asked(performance.now());
      this.#seek(this.#entryMs(next, nowMs));
    }
    this.audio.playbackRate = next.rate;
    if (next.playing && !endReached(next, nowMs)) this.#play();
    else this.audio.pause();
    this.#tick();
  }

  #play(): void {
    if (!this.audio.paused) return;
    this.#markLate();
    this.audio.play().catch((error: DOMException) => {
      if (error.name !== "NotAllowedError" || !this.#target?.playing) return;
      this.#quality.stopped();
      this.#events.blocked();
    });
  }

  /** Where to seek so as to sound on the playhead: who does not speak has to come to it, and it goes on meanwhile. */
  #entryMs(playhead: Playhead, nowMs: number): number {
    return positionAt(playhead, nowMs + (this.#speaks ? 0 : this.#seekDelay.ms));
  }

  #seek(toMs: number): void {
    if (this.audio.readyState >= HTMLMediaElement.HAVE_METADATA) {
      this.audio.currentTime = toMs / 1000;
      if (this.#target?.playing) this.#seekDelay.sought(toMs, this.#serverNowMs());
    } else {
      this.#startMs = toMs;
      if (this.#loading) this.#hls?.startLoad(toMs / 1000);
    }
    this.#markLate();
  }

  #markLate(): void {
    this.#lateSinceMs = this.#serverNowMs();
    this.#stillAtS = this.audio.currentTime;
    this.#reportedMs = null;
  }

  #tick(): void {
    const target = this.#target;
    const slept = this.#serverNowMs() - this.#tickedMs > SLEPT_MS;
    this.#tickedMs = this.#serverNowMs();
    if (!target?.playing || this.audio.paused) return;
    // The playhead ran on, and is to come back to the sound.
    if (slept) this.#markLate();
    // An element that may go on still has to start the machine's output: until then its place says nothing.
    if (!this.moving || this.audio.currentTime === this.#stillAtS) {
      if (this.#folding || this.audio.ended) return;
      this.#markLate();
      this.#quality.silent(performance.now());
      return;
    }
    this.#quality.sounds(performance.now());
    this.#retries.reset();
    this.#folding = false;
    this.#stillAtS = null;
    const nowMs = this.#serverNowMs();
    // Nobody can bring the playhead back yet.
    if (this.#events.alone()) this.#lateSinceMs = nowMs;
    const patienceMs = LATE_MS_MAX + (this.#events.asking() ? ANSWER_MS_MAX : 0);
    const late = this.#speaks && nowMs - this.#lateSinceMs < patienceMs;
    if (this.#reportedMs === null) this.#reportStart(nowMs);
    const hereMs = this.audio.currentTime * 1000;
    this.#seekDelay.sounds(hereMs, nowMs, target.rate);
    this.#correct(target, nowMs, hereMs, late);
    this.#waitForFold(target, hereMs);
  }

  #correct(target: Playhead, nowMs: number, hereMs: number, late: boolean): void {
    const what = correction(target, nowMs, hereMs, late);
    const rate = what.kind === "nudge" ? target.rate * what.factor : target.rate;
    // Writing the same rate again would still restart the browser's time stretching.
    if (this.audio.playbackRate !== rate) this.audio.playbackRate = rate;
    if (what.kind === "seek") this.#seek(this.#entryMs(target, nowMs));
    const quietMs = nowMs - (this.#reportedMs ?? nowMs);
    // The first report may have come before the sound fell behind, or has not been answered.
    if (what.kind === "report" && !this.#events.alone() && quietMs >= REPORT_AGAIN_MS) this.#reportStart(nowMs);
  }

  #reportStart(nowMs: number): void {
    this.#reportedMs = nowMs;
    this.#events.started();
  }

  #waitForFold(target: Playhead, hereMs: number): void {
    const loop = foldingLoop(target);
    clearTimeout(this.#foldTimer);
    if (!loop || hereMs >= loop.endMs + REANCHOR_MS) return;
    const leftMs = (loop.endMs - hereMs) / this.audio.playbackRate;
    if (leftMs > FOLD_AHEAD_MS) return;
    this.#foldTimer = setTimeout(() => this.#fold(target), Math.max(0, leftMs - FOLD_EARLY_MS));
  }

  #fold(target: Playhead): void {
    const loop = foldingLoop(target);
    if (!loop || target !== this.#target || !this.moving) return;
    this.#folding = true;
    this.audio.currentTime = loop.startMs / 1000;
  }

  /** Where a loop ends with the media and was not folded in time, only a seek goes on in it: `play` would begin at 0. */
  #elementEnded(): void {
    if (!this.#target?.playing) return;
    const loop = foldingLoop(this.#target);
    if (!loop) return this.#events.ended();
    this.#seek(loop.startMs);
    this.#play();
  }

  #listen(): void {
    const { audio } = this;
    for (const name of ["playing", "seeked", "waiting", "timeupdate"]) audio.addEventListener(name, () => this.#tick());
    audio.addEventListener("loadedmetadata", () => {
      if (this.#startMs === null) return;
      audio.currentTime = this.#startMs / 1000;
      this.#startMs = null;
    });
    audio.addEventListener("error", () => this.#elementFailed());
    audio.addEventListener("ended", () => this.#elementEnded());
    audio.addEventListener("pause", () => {
      // An element that fails pauses by itself.
      if (audio.paused && !audio.ended && !audio.error && this.#target?.playing) this.#events.stoppedOutside();
    });
    audio.addEventListener("play", () => {
      if (!audio.paused && this.#target?.playing !== true) this.#events.startedOutside();
    });
  }

  /** The browser's own player does not say why it failed: it may be the address, so another one is tried, and at once. */
  #elementFailed(): void {
    if (this.#hls || this.#stream.url === null) return;
    const newer = this.#stream.refuse();
    const waitMs = this.#retries.next(this.audio.error?.code === UNDECODABLE);
    if (waitMs === null) return this.#events.gaveUp("The audio cannot be played here. Press play to try again.");
    if (this.#retries.telling) this.#events.failed(TRYING_AGAIN);
    const again = (): void => (newer ? this.load(newer) : this.#events.expired());
    clearTimeout(this.#retryTimer);
    if (waitMs === 0) again();
    else this.#retryTimer = setTimeout(again, waitMs);
  }

  #startLoading(placeMs: number): void {
    if (this.#loading || !this.#stream.url) return;
    if (this.#startMs === null && this.audio.readyState < HTMLMediaElement.HAVE_METADATA) this.#startMs = placeMs;
    if (this.#hls && !this.#parsed) return;
    this.#loading = true;
    this.#hls?.startLoad(placeMs / 1000);
  }

  #loadWithHls(url: string): void {
    const hls = new Hls(hlsConfig(() => hls === this.#hls && this.#events.failed(TRYING_AGAIN)));
    this.#hls = hls;
    hls.on(Hls.Events.MANIFEST_PARSED, () => {
      this.#parsed = true;
      const first = firstLevel(hls.levels);
      if (first !== undefined) hls.startLevel = first;
      // The same movement as before: a start that waited for the playlist is late, but skips nothing.
      if (this.#target) this.#applyTarget(this.#target, this.#target);
    });
    hls.on(Hls.Events.ERROR, (_event, data) => this.#hlsFailed(hls, data));
    hls.attachMedia(this.audio);
    hls.loadSource(url);
  }

  #hlsFailed(hls: Hls, data: ErrorData): void {
    if (!data.fatal || hls !== this.#hls) return;
    const status = data.response?.code ?? 0;
    if (data.type === Hls.ErrorTypes.MEDIA_ERROR) {
      hls.recoverMediaError();
      if (this.#target) this.#applyTarget(this.#target, this.#target);
    } else if (status === 401 || status === 403 || status === 410) {
      const newer = this.#stream.refuse();
      if (newer) this.load(newer);
      else this.#events.expired();
    } else {
      this.#events.failed(TRYING_AGAIN);
      setTimeout(() => hls === this.#hls && this.#reload(hls), RELOAD_DELAY_MS);
    }
  }

  #reload(hls: Hls): void {
    if (!this.#parsed && this.#stream.url) hls.loadSource(this.#stream.url);
    else if (this.#target) hls.startLoad(positionAt(this.#target, this.#serverNowMs()) / 1000);
  }
}
