/**
 * What a stream's address names. Pure.
 *
 *     https://host/p/<token>/t/<script>/<media version>/master.m3u8
 *
 * Every answer signs anew, so two addresses of the same media differ in their token alone.
 */

const VERSION = /\/t\/[^/]+\/([^/]+)\//;
const TOKEN = /\/p\/[^/]+(?=\/t\/)/;

/** The version of the media that the address leads to. */
export function mediaVersionOf(url: string): string | null {
  return VERSION.exec(url)?.[1] ?? null;
}

/** Whether both addresses lead to the same media: a stream that plays needs no other one, only a later token some day. */
export function sameMedia(one: string, other: string): boolean {
  return one.replace(TOKEN, "") === other.replace(TOKEN, "");
}

/** The address that is played, and the newest one for the same media, kept for when the first is refused. */
export class StreamAddress {
  #url: string | null = null;
  #newer: string | null = null;
  #refused = false;

  get url(): string | null {
    return this.#url;
  }

  /** Whether `url` is to be loaded; another token for what plays already is only kept. */
  take(url: string): boolean {
    if (this.#url && sameMedia(url, this.#url) && !this.#refused) {
      this.#newer = url;
      return false;
    }
    this.clear();
    this.#url = url;
    return true;
  }

  /** The address is no longer honoured. Answers the newer one that is at hand, if there is one. */
  refuse(): string | null {
    this.#refused = true;
    return this.#newer;
  }

  clear(): void {
    this.#url = null;
    this.#newer = null;
    this.#refused = false;
  }
}
