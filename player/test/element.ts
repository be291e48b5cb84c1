/** What Node lacks of a browser's page: an audio element, which here plays nothing, and the tab's session storage. */

export class SilentAudio extends EventTarget {
  src = "";
  volume = 1;
  playbackRate = 1;
  preservesPitch = false;
  paused = true;
  ended = false;
  seeking = false;
  readyState = 0;
  error: { code: number } | null = null;
  #currentTime = 0;

  get currentTime(): number {
    return this.#currentTime;
  }

  set currentTime(placeS: number) {
    this.#currentTime = placeS;
    this.ended = false;
  }

  /** It has played to the end of the media. */
  end(): void {
    this.paused = this.ended = true;
    for (const name of ["pause", "ended"]) this.dispatchEvent(new Event(name));
  }

  load(): void {
    this.readyState = 0;
  }

  removeAttribute(): void {
    this.src = "";
  }

  /** At the end of the media it begins anew. */
  async play(): Promise<void> {
    if (this.ended) this.currentTime = 0;
    this.paused = false;
  }

  pause(): void {
    this.paused = true;
  }
}

/** To be called before anything of the page is made. */
export function installPage(): void {
  const kept = new Map<string, string>();
  const sessionStorage = {
    getItem: (key: string) => kept.get(key) ?? null,
    setItem: (key: string, value: string) => void kept.set(key, value),
  };
  const HTMLMediaElement = { HAVE_METADATA: 1, HAVE_FUTURE_DATA: 3 };
  Object.assign(globalThis, { sessionStorage, HTMLMediaElement });
}
