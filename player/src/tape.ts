/**
 * The tape: a ruler that runs under a fixed playhead, with loop and bookmarks on it; dragging it seeks to the moment.
 * Decoration for the eye (the slider below it is the accessible control). Draws only what changed.
 */

import { find } from "./dom.ts";
import { formatTime } from "./format.ts";
import type { Playhead } from "./playhead.ts";

const PX_PER_SECOND = 26;
const LABEL_EVERY_S = 5;
const HEAD_PX = 9;

interface Colours {
  readonly muted: string;
  readonly line: string;
  readonly accent: string;
  readonly loop: string;
  readonly loopFill: string;
  readonly flag: string;
}

export interface TapeView {
  readonly positionMs: number;
  readonly playhead: Playhead;
  readonly markMs: number | null;
  readonly bookmarksMs: readonly number[];
}

export class Tape {
  readonly #canvas: HTMLCanvasElement;
  readonly #context: CanvasRenderingContext2D;
  readonly #still = matchMedia("(prefers-reduced-motion: reduce)");
  #colours: Colours;
  #drawn = "";

  /** `scrub` hears where a drag would lead, `seek` where it ended. */
  constructor(positionMs: () => number, scrub: (toMs: number | null) => void, seek: (toMs: number) => void) {
    this.#canvas = find<HTMLCanvasElement>("canvas.tape");
    this.#context = this.#canvas.getContext("2d") as CanvasRenderingContext2D;
    this.#colours = readColours();
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
      this.#colours = readColours();
      this.#drawn = "";
    });
    this.#listen(positionMs, scrub, seek);
  }

  draw(view: TapeView): void {
    const positionMs = this.#still.matches ? Math.floor(view.positionMs / 1000) * 1000 : Math.round(view.positionMs);
    const { clientWidth: width, clientHeight: height } = this.#canvas;
    const sharp = devicePixelRatio;
    const key = JSON.stringify([positionMs, width, height, sharp, view.playhead.loop, view.markMs, view.bookmarksMs]);
    if (key === this.#drawn || width === 0) return;
    this.#drawn = key;
    if (this.#canvas.width !== Math.round(width * sharp) || this.#canvas.height !== Math.round(height * sharp)) {
      this.#canvas.width = Math.round(width * sharp);
      this.#canvas.height = Math.round(height * sharp);
    }
    this.#context.setTransform(sharp, 0, 0, sharp, 0, 0);
    this.#context.clearRect(0, 0, width, height);
    const xOf = (ms: number): number => width / 2 + ((ms - positionMs) / 1000) * PX_PER_SECOND;
    this.#drawLoop(view, xOf, height);
    this.#drawRuler(view.playhead.durationMs, positionMs, xOf, width, height);
    this.#drawFlags(view.bookmarksMs, xOf, height);
    this.#drawHead(width / 2, height);
  }

  #drawLoop({ playhead, markMs }: TapeView, xOf: (ms: number) => number, height: number): void {
    const { loop } = playhead;
    const context = this.#context;
    if (loop) {
      const left = xOf(loop.startMs);
      context.globalAlpha = loop.enabled ? 1 : 0.35;
      context.fillStyle = this.#colours.loopFill;
      context.fillRect(left, 22, xOf(loop.endMs) - left, height - 22);
      this.#drawEdge("A", left, height, 1);
      this.#drawEdge("B", xOf(loop.endMs), height, -1);
      context.globalAlpha = 1;
    }
    if (markMs !== null) this.#drawEdge("A", xOf(markMs), height, 1);
  }

  #drawEdge(name: string, x: number, height: number, side: 1 | -1): void {
    const context = this.#context;
    context.fillStyle = this.#colours.loop;
    context.fillRect(x - 1, 22, 2, height - 22);
    context.font = "700 11px system-ui, sans-serif";
    context.textAlign = side === 1 ? "left" : "right";
    context.fillText(name, x + side * 6, 34);
  }

  #drawRuler(durationMs: number, positionMs: number, xOf: (ms: number) => number, width: number, height: number): void {
    const context = this.#context;
    const reachMs = (width / 2 / PX_PER_SECOND) * 1000;
    const first = Math.max(0, Math.ceil((positionMs - reachMs) / 1000) - 1);
    const last = Math.min(Math.floor(durationMs / 1000), Math.floor((positionMs + reachMs) / 1000) + 2);
    context.fillStyle = this.#colours.line;
    const left = xOf(0);
    context.fillRect(left, height - 1, xOf(durationMs) - left, 1);
    context.font = "500 11px system-ui, sans-serif";
    context.textAlign = "center";
    for (let second = first; second <= last; second += 1) {
      const x = xOf(second * 1000);
      const labelled = second % LABEL_EVERY_S === 0;
      context.fillStyle = labelled ? this.#colours.muted : this.#colours.line;
      const size = labelled ? 26 : 14;
      context.fillRect(x - 0.75, height - size, 1.5, size);
      if (labelled) context.fillText(formatTime(second * 1000), x, height - 34);
    }
  }

  #drawFlags(bookmarksMs: readonly number[], xOf: (ms: number) => number, height: number): void {
    const context = this.#context;
    context.fillStyle = this.#colours.flag;
    for (const ms of bookmarksMs) {
      const x = xOf(ms);
      context.beginPath();
      context.moveTo(x - 4, height);
      context.lineTo(x - 4, height - 12);
      context.lineTo(x + 4, height - 12);
      context.lineTo(x + 4, height);
      context.lineTo(x, height - 4);
      context.fill();
    }
  }

  #drawHead(x: number, height: number): void {
    const context = this.#context;
    context.fillStyle = this.#colours.accent;
    context.beginPath();
    context.moveTo(x - HEAD_PX, 2);
    context.lineTo(x + HEAD_PX, 2);
    context.lineTo(x, 2 + HEAD_PX * 1.25);
    context.fill();
    context.fillRect(x - 1, 8, 2, height - 8);
  }

  #listen(positionMs: () => number, scrub: (toMs: number | null) => void, seek: (toMs: number) => void): void {
    const canvas = this.#canvas;
    let grabbed: { x: number; ms: number } | null = null;
    const wish = (event: PointerEvent): number =>
      grabbed ? Math.max(0, grabbed.ms - ((event.clientX - grabbed.x) / PX_PER_SECOND) * 1000) : 0;
    canvas.addEventListener("pointerdown", (event) => {
      canvas.setPointerCapture(event.pointerId);
      grabbed = { x: event.clientX, ms: positionMs() };
    });
    canvas.addEventListener("pointermove", (event) => grabbed && scrub(wish(event)));
    canvas.addEventListener("pointerup", (event) => {
      if (grabbed && Math.abs(event.clientX - grabbed.x) > 2) seek(wish(event));
      grabbed = null;
      scrub(null);
    });
    canvas.addEventListener("pointercancel", () => {
      grabbed = null;
      scrub(null);
    });
  }
}

function readColours(): Colours {
  const style = getComputedStyle(document.documentElement);
  const read = (name: string): string => style.getPropertyValue(`--${name}`).trim();
  return {
    muted: read("muted"),
    line: read("tick"),
    accent: read("accent"),
    loop: read("loop"),
    loopFill: read("loop-fill"),
    flag: read("flag"),
  };
}
