/** What the script's file says of itself: its artist, its picture, and its chapters, of which the one heard is marked. */

import type { Api } from "./api.ts";
import { chapterAt, chapterTitle } from "./chapter_list.ts";
import { byTestId, find, fromTemplate, setText, showList } from "./dom.ts";
import { formatTime } from "./format.ts";
import type { Listening } from "./listening.ts";
import { secondsToMs } from "./playhead.ts";
import { Refusal } from "./refusal.ts";
import type { Chapter, ScriptDetails } from "./wire.ts";

export class Chapters {
  readonly #api: Api;
  readonly #listening: Listening;
  #chapters: readonly Chapter[] = [];
  #current = -1;
  #of: string | null = null;

  constructor(api: Api, listening: Listening) {
    this.#api = api;
    this.#listening = listening;
  }

  clear(): void {
    this.#of = null;
    this.#show(null);
    this.#showCover(null);
  }

  /** Looks again when another script is open, or the session plays another file of it. */
  update(): void {
    const { script, state } = this.#listening;
    const of = script && `${script.script_id} ${state?.media_version ?? ""}`;
    if (of === this.#of) return;
    this.#of = of;
    if (script) void this.#load(script.script_id, of);
  }

  /** Marks the chapter that is heard; called for every frame. */
  draw(): void {
    const current = chapterAt(this.#chapters, this.#listening.positionMs);
    if (current === this.#current) return;
    this.#jumps()[this.#current]?.removeAttribute("aria-current");
    this.#jumps()[current]?.setAttribute("aria-current", "true");
    this.#current = current;
  }

  async #load(scriptId: string, of: string | null): Promise<void> {
    try {
      const details = await this.#api.script(scriptId);
      if (of !== this.#of) return;
      this.#show(details);
      const cover = details.has_cover ? await this.#api.cover(scriptId) : null;
      if (of === this.#of) this.#showCover(cover);
    } catch (error) {
      if (!(error instanceof Refusal)) throw error;
      // it can be heard without; whoever is told of it anew asks again
      if (of === this.#of) this.#of = null;
    }
  }

  #show(details: ScriptDetails | null): void {
    const artist = byTestId("artist");
    artist.hidden = !details?.artist;
    setText(artist, details?.artist ?? "");
    this.#chapters = details?.marks ?? [];
    this.#current = -1;
    find(".chapters").hidden = this.#chapters.length === 0;
    const numbered = this.#chapters.map((chapter, index) => ({ chapter, index }));
    showList(
      byTestId("chapters"),
      numbered,
      ({ index }) => String(index),
      () => fromTemplate("chapter-item"),
      (element, { chapter, index }) => this.#fill(element, chapter, index),
    );
  }

  #fill(element: HTMLElement, chapter: Chapter, index: number): void {
    const placeMs = secondsToMs(chapter.position);
    const title = chapterTitle(chapter, index);
    setText(find(".time", element), formatTime(placeMs));
    setText(find(".title", element), title);
    const jump = byTestId("chapter-jump", element);
    jump.removeAttribute("aria-current");
    jump.setAttribute("aria-label", `Go to ${title} at ${formatTime(placeMs)}`);
    jump.onclick = () => void this.#listening.seek(placeMs);
  }

  #showCover(picture: string | null): void {
    const cover = byTestId<HTMLImageElement>("cover");
    cover.hidden = picture === null;
    if (picture === null) cover.removeAttribute("src");
    else cover.src = picture;
  }

  #jumps(): HTMLElement[] {
    return Array.from(byTestId("chapters").querySelectorAll<HTMLElement>(".jump"));
  }
}
