/** Where chapters begin, and which one is heard. Pure. */

import { secondsToMs } from "./playhead.ts";
import type { Chapter } from "./wire.ts";

/** The last chapter that begins at `positionMs` or before it; -1: none has begun. They are ordered by position. */
export function chapterAt(chapters: readonly Chapter[], positionMs: number): number {
  let low = 0;
  let high = chapters.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (secondsToMs(chapters[middle]?.position ?? 0) <= positionMs) low = middle + 1;
    else high = middle;
  }
  return low - 1;
}

/** What a chapter is called; the file may give it no name. */
export function chapterTitle(chapter: Chapter, index: number): string {
  return chapter.title ?? `Chapter ${index + 1}`;
}
