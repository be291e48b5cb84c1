/**
 * Fetches for hls.js, and asks again when the server says so: 503 with `Retry-After`, which keeps the place in the queue.
 * hls.js would ask ever less often, and then change the rung: another segment, with a place at the queue's end.
 * Knows nothing of the page. Whatever else goes wrong is hls.js' own.
 */

import type {
  HlsConfig,
  HlsProgressivePerformanceTiming,
  Loader,
  LoaderCallbacks,
  LoaderConfiguration,
  LoaderContext,
  LoaderStats,
} from "hls.js";

/** So long after the first 503 it is told that the server is busy, and again each time that it has passed. */
export const TOLD_EVERY_MS = 60_000;
const BUSY = 503;
/** How long to wait where the answer does not say. */
const UNTOLD_S = 1;
const WAIT_S_MAX = 30;
/** Not all at once; the server expects everyone back within 2 s more than it has told. */
const JITTER_MS = 500;

type LoaderClass = HlsConfig["loader"];

/** How long to wait before asking again. `random`: from 0 to 1. */
export function waitMs(retryAfter: string | null, random: number): number {
  const told = /^\d+$/.test(retryAfter ?? "") ? Number(retryAfter) : UNTOLD_S;
  return Math.min(Math.max(told, UNTOLD_S), WAIT_S_MAX) * 1_000 + random * JITTER_MS;
}

/**
 * A load counts as begun while nothing of it has come: hls.js leaves a fragment for one of a lower rung when it takes
 * long, and here it is the server that lets it wait, not the line.
 */
class Timing implements HlsProgressivePerformanceTiming {
  first = 0;
  end = 0;
  #start = 0;

  get start(): number {
    return this.#start > 0 && this.first === 0 ? performance.now() : this.#start;
  }

  set start(ms: number) {
    this.#start = ms;
  }
}

/** hls.js' loader `Base` with patience. `busy`: the server has put this off for TOLD_EVERY_MS; it is asked on. */
export function patient(Base: LoaderClass, busy: () => void): LoaderClass {
  return class implements Loader<LoaderContext> {
    context: LoaderContext | null = null;
    readonly stats: LoaderStats;
    readonly #config: HlsConfig;
    #loader: Loader<LoaderContext>;
    #timer: ReturnType<typeof setTimeout> | undefined;
    #sinceMs: number | null = null;

    constructor(config: HlsConfig) {
      this.#config = config;
      this.#loader = new Base(config);
      this.stats = this.#loader.stats;
      this.stats.loading = new Timing();
    }

    load(context: LoaderContext, config: LoaderConfiguration, callbacks: LoaderCallbacks<LoaderContext>): void {
      this.context = context;
      this.#ask(context, config, callbacks);
    }

    abort(): void {
      // hls.js' loader says so of a request alone that is on its way.
      if (this.#timer !== undefined) this.stats.aborted = true;
      this.#rest();
      this.#loader.abort();
    }

    destroy(): void {
      this.#rest();
      this.context = null;
      this.#loader.destroy();
    }

    getCacheAge(): number | null {
      return this.#loader.getCacheAge?.() ?? null;
    }

    getResponseHeader(name: string): string | null {
      return this.#loader.getResponseHeader?.(name) ?? null;
    }

    #ask(context: LoaderContext, config: LoaderConfiguration, callbacks: LoaderCallbacks<LoaderContext>): void {
      this.#loader.load(context, config, {
        ...callbacks,
        onError: (error, ...rest) => {
          // The first playlist is asked for again by the page, which says so at once.
          if (error.code !== BUSY || String(context.type) === "manifest") return callbacks.onError(error, ...rest);
          this.#wait(() => this.#ask(context, config, callbacks));
        },
      });
    }

    #wait(ask: () => void): void {
      this.#tell(performance.now());
      const ms = waitMs(this.getResponseHeader("Retry-After"), Math.random());
      this.stats.loading.first = 0;
      this.#timer = setTimeout(() => {
        this.#rest();
        // One loader of hls.js fetches once. What it measures goes on where hls.js looks for it.
        this.#loader.destroy();
        this.#loader = new Base(this.#config);
        this.#loader.stats = this.stats;
        this.stats.loading.start = 0;
        ask();
      }, ms);
    }

    #tell(nowMs: number): void {
      this.#sinceMs ??= nowMs;
      if (nowMs - this.#sinceMs < TOLD_EVERY_MS) return;
      this.#sinceMs = nowMs;
      busy();
    }

    #rest(): void {
      clearTimeout(this.#timer);
      this.#timer = undefined;
    }
  };
}
