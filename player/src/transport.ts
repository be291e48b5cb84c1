/**
 * The stage: title, tape, time, seek bar, play button, loop and speed of the script that is open.
 * `draw` runs each animation frame and moves what moves; `update` runs at each change and sets the rest.
 */

import { byTestId, find, setIcon, setText } from "./dom.ts";
import { formatFine, formatRate, formatShare, formatTenths, formatTime, spokenTime } from "./format.ts";
import type { Listening } from "./listening.ts";
import type { Loop, Playhead } from "./playhead.ts";
import { Tape } from "./tape.ts";
import type { Preparation } from "./wire.ts";

const RATES = [0.5, 0.75, 1, 1.25, 1.5, 1.75, 2, 3];
const SKIP_MS = 15_000;
const LOOP_MS_MIN = 250;

export class Transport {
  readonly #listening: Listening;
  readonly #now = byTestId("playhead");
  readonly #tenths = find(".clock .tenths");
  readonly #seek = byTestId<HTMLInputElement>("seek");
  readonly #rail = find(".seek .rail");
  readonly #rate = byTestId<HTMLSelectElement>("rate");
  readonly #tape: Tape;
  /** Where a drag is just now; nothing is sent before it ends. */
  #scrubMs: number | null = null;
  /** A point A that waits for its B. */
  #markMs: number | null = null;
  /** A loop that was cleared here: it is off, and its marks are not shown until another one is set. */
  #cleared = "";
  #bookmarksMs: readonly number[] = [];

  constructor(listening: Listening) {
    this.#listening = listening;
    const scrub = (toMs: number | null): void => void (this.#scrubMs = toMs === null ? null : this.#clamp(toMs));
    this.#tape = new Tape(() => this.positionMs, scrub, (toMs) => this.#seekTo(toMs));
    this.#bindPlayback();
    this.#bindLoop();
    this.#rate.addEventListener("change", () => void listening.controls.setRate(Number(this.#rate.value)));
  }

  get positionMs(): number {
    return this.#scrubMs ?? this.#listening.positionMs;
  }

  scriptChanged(): void {
    this.#markMs = null;
    this.#scrubMs = null;
    this.#cleared = "";
  }

  showBookmarks(bookmarksMs: readonly number[]): void {
    this.#bookmarksMs = bookmarksMs;
    const durationMs = this.#listening.playhead?.durationMs ?? 0;
    const flags = bookmarksMs.map((ms) => {
      const flag = document.createElement("i");
      flag.style.setProperty("--at", String(durationMs ? ms / durationMs : 0));
      return flag;
    });
    find(".flags", this.#rail).replaceChildren(...flags);
  }

  /** How far the script that is open is prepared; nothing once it is. */
  showPreparation({ status, progress }: Pick<Preparation, "status" | "progress">): void {
    const element = byTestId("preparing");
    element.hidden = status === "ready";
    find<HTMLProgressElement>("progress", element).value = progress;
    setText(find("span", element), preparationOf(status, progress));
  }

  /** Each animation frame. */
  draw(): void {
    const { playhead } = this.#listening;
    if (!playhead) return;
    const { positionMs } = this;
    this.#now.dataset["positionMs"] = String(Math.round(this.#listening.positionMs));
    setText(this.#now, formatTime(positionMs));
    setText(this.#tenths, formatTenths(positionMs));
    const share = playhead.durationMs ? positionMs / playhead.durationMs : 0;
    this.#rail.style.setProperty("--at", share.toFixed(5));
    if (this.#scrubMs === null) this.#seek.value = String(positionMs / 1000);
    const spoken = spokenTime(positionMs);
    if (this.#seek.getAttribute("aria-valuetext") !== spoken) this.#seek.setAttribute("aria-valuetext", spoken);
    const shown = { ...playhead, loop: this.#shownLoop(playhead) };
    this.#tape.draw({ positionMs, playhead: shown, markMs: this.#markMs, bookmarksMs: this.#bookmarksMs });
    this.#updatePlayButton();
  }

  /** At each change. */
  update(): void {
    const { playhead, script, state } = this.#listening;
    find(".stage .nothing").hidden = script !== null;
    find(".stage .open").hidden = script === null;
    if (!playhead || !script) return;
    setText(byTestId("script-title"), script.title);
    setText(byTestId("duration"), formatTime(playhead.durationMs));
    this.#seek.max = String(playhead.durationMs / 1000);
    byTestId("tap-to-hear").hidden = !this.#listening.blocked;
    this.#updateWhereabouts();
    this.#updateLoop(playhead, state !== null);
    this.#updateRate(playhead.rate, state !== null);
    this.#updatePlayButton();
  }

  #updatePlayButton(): void {
    const button = byTestId("play-toggle");
    const { playing } = this.#listening;
    const label = playing ? "Pause" : this.#listening.ended ? "Play again" : "Play";
    if (button.getAttribute("aria-label") === label) return;
    button.setAttribute("aria-label", label);
    setIcon(button, playing ? "pause" : "play");
  }

  #updateWhereabouts(): void {
    const { state, devices, active, playing, ended, blocked, together } = this.#listening;
    const device = devices.find(({ id }) => id === state?.active_device);
    const where = active ? "this device" : (device?.name ?? "a device that is away");
    let text = "Ready to play here";
    if (blocked) text = "The browser asks for a tap before it may sound";
    else if (ended) text = "Played to the end";
    else if (together) text = `${playing ? "Playing" : "Paused"} on all devices together`;
    else if (state) text = `${playing ? "Playing" : "Paused"} on ${where}`;
    const element = byTestId("whereabouts");
    setText(element, text);
    element.dataset["state"] = blocked ? "blocked" : playing ? "playing" : "resting";
  }

  #updateLoop(playhead: Playhead, live: boolean): void {
    const loop = this.#shownLoop(playhead);
    const startMs = this.#markMs ?? loop?.startMs ?? null;
    const endMs = this.#markMs === null ? (loop?.endMs ?? null) : null;
    const [a, b] = [byTestId<HTMLButtonElement>("loop-a"), byTestId<HTMLButtonElement>("loop-b")];
    setText(find("span", a), startMs === null ? "Set" : formatFine(startMs));
    setText(find("span", b), endMs === null ? "Set" : formatFine(endMs));
    a.setAttribute("aria-label", startMs === null ? "Set loop start A here" : `Loop start A at ${formatFine(startMs)}, set it here`);
    b.setAttribute("aria-label", endMs === null ? "Set loop end B here" : `Loop end B at ${formatFine(endMs)}, set it here`);
    a.disabled = !live;
    b.disabled = !live || startMs === null;
    const toggle = byTestId<HTMLButtonElement>("loop-toggle");
    toggle.disabled = !loop;
    toggle.setAttribute("aria-pressed", String(loop?.enabled ?? false));
    byTestId("loop-clear").hidden = startMs === null;
    const span = find(".loop-span", this.#rail);
    span.hidden = !loop;
    span.dataset["enabled"] = String(loop?.enabled ?? false);
    if (!loop) return;
    span.style.setProperty("--from", String(loop.startMs / playhead.durationMs));
    span.style.setProperty("--to", String(loop.endMs / playhead.durationMs));
  }

  #updateRate(rate: number, live: boolean): void {
    this.#rate.disabled = !live;
    const rates = [...new Set([...RATES, rate])].sort((a, b) => a - b);
    const shown = rates.join();
    if (this.#rate.dataset["rates"] !== shown) {
      this.#rate.dataset["rates"] = shown;
      this.#rate.replaceChildren(...rates.map((one) => new Option(formatRate(one), String(one))));
    }
    this.#rate.value = String(rate);
  }

  #bindPlayback(): void {
    const seek = this.#seek;
    byTestId("play-toggle").addEventListener("click", () => void this.#listening.toggle());
    byTestId("tap-to-hear").addEventListener("click", () => this.#listening.tapped());
    byTestId("back-15").addEventListener("click", () => void this.#listening.seekBy(-SKIP_MS));
    byTestId("forward-15").addEventListener("click", () => void this.#listening.seekBy(SKIP_MS));
    seek.addEventListener("input", () => (this.#scrubMs = this.#clamp(seek.valueAsNumber * 1000)));
    seek.addEventListener("change", () => this.#seekTo(seek.valueAsNumber * 1000));
  }

  #bindLoop(): void {
    byTestId("loop-a").addEventListener("click", () => this.#setA(this.#listening.positionMs));
    byTestId("loop-b").addEventListener("click", () => this.#setB(this.#listening.positionMs));
    byTestId("loop-toggle").addEventListener("click", () => {
      const loop = this.#listening.playhead?.loop;
      if (loop) void this.#listening.controls.setLoop(loop.startMs, loop.endMs, !loop.enabled);
    });
    byTestId("loop-clear").addEventListener("click", () => this.#clearLoop());
  }

  #setA(atMs: number): void {
    const loop = this.#listening.playhead && this.#shownLoop(this.#listening.playhead);
    if (loop && this.#markMs === null && atMs + LOOP_MS_MIN <= loop.endMs) {
      void this.#listening.controls.setLoop(atMs, loop.endMs, loop.enabled);
    } else {
      this.#markMs = atMs;
      this.update();
    }
  }

  #setB(atMs: number): void {
    const startMs = this.#markMs ?? this.#listening.playhead?.loop?.startMs;
    if (startMs === undefined) return;
    this.#markMs = null;
    this.#cleared = "";
    void this.#listening.controls.setLoop(Math.min(startMs, atMs), Math.max(startMs, atMs), true);
  }

  #clearLoop(): void {
    const loop = this.#listening.playhead?.loop;
    this.#markMs = null;
    if (loop) {
      this.#cleared = marksOf(loop);
      if (loop.enabled) void this.#listening.controls.setLoop(loop.startMs, loop.endMs, false);
    }
    this.update();
  }

  #shownLoop(playhead: Playhead): Loop | null {
    const { loop } = playhead;
    return loop && (loop.enabled || marksOf(loop) !== this.#cleared) ? loop : null;
  }

  #seekTo(toMs: number): void {
    this.#scrubMs = null;
    void this.#listening.seek(toMs);
  }

  #clamp(ms: number): number {
    return Math.min(Math.max(ms, 0), this.#listening.playhead?.durationMs ?? 0);
  }
}

function marksOf(loop: Loop): string {
  return `${loop.startMs}-${loop.endMs}`;
}

function preparationOf(status: Preparation["status"], progress: number): string {
  if (status === "failed") return "Preparing it failed";
  return status === "queued" ? "Waiting to be prepared" : `Preparing ${formatShare(progress)}`;
}
