/** What Node lacks of a browser's page: an audio element, which here plays nothing, and the tab's session storage. */

export class SilentAudio extends EventTarget {
  src = "";
  volume = 1;
  playbackRate = 1;
  preservesPitch = false;
  paused = true;
  ended = false;
  seeking = false;
  currentTime = 0;
  readyState = 0;

  load(): void {
    this.readyState = 0;
  }

  removeAttribute(): void {
    this.src = "";
  }

  async play(): Promise<void> {
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
