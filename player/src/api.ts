/**
 * The REST calls the page makes: scripts, sessions, stream addresses, bookmarks.
 * A refusal (RFC 9457 problem) is thrown as `Refusal` with the same codes as on the socket.
 */

import { Refusal } from "./refusal.ts";
import type { Bookmark, HistoryEntry, ListedSession, Script, ScriptDetails, Stream } from "./wire.ts";

const BASE = "/api/v1/audio";
const PAGE_SIZE = 50;

interface Problem {
  code?: string;
  title?: string;
  detail?: string;
  retry?: boolean;
}

export class Api {
  readonly #token: string;
  readonly #unauthorized: (error: Refusal) => void;

  /** `unauthorized` hears when the token is not taken (any more). */
  constructor(token: string, unauthorized: (error: Refusal) => void) {
    this.#token = token;
    this.#unauthorized = unauthorized;
  }

  async scripts(cursor: string | null): Promise<{ scripts: Script[]; next_cursor: string | null }> {
    return await this.#call("GET", `/scripts?${pageQuery(cursor)}`);
  }

  /** One script, with what its file says of itself. */
  async script(scriptId: string): Promise<ScriptDetails> {
    return await this.#call("GET", `/scripts/${encodeURIComponent(scriptId)}`);
  }

  /** The picture in the script's file, as an address that holds it: an image cannot send the token. */
  async cover(scriptId: string): Promise<string> {
    const picture = await (await this.#answered("GET", `/scripts/${encodeURIComponent(scriptId)}/cover`)).blob();
    return await new Promise((resolve, reject) => {
      const reader = new FileReader();
      reader.onload = () => resolve(String(reader.result));
      reader.onerror = () => reject(reader.error);
      reader.readAsDataURL(picture);
    });
  }

  /** Where the script is heard: the file of that version, while it is kept, else the one that the script has. */
  async stream(scriptId: string, mediaVersion: string | null): Promise<Stream> {
    const version = mediaVersion === null ? "" : `&media_version=${encodeURIComponent(mediaVersion)}`;
    return await this.#call("GET", `/stream/${encodeURIComponent(scriptId)}?quality=auto${version}`);
  }

  /** All bookmarks of a script, ordered by position. */
  async bookmarks(scriptId: string): Promise<Bookmark[]> {
    const all: Bookmark[] = [];
    let cursor: string | null = null;
    do {
      const page: { bookmarks: Bookmark[]; next_cursor: string | null } = await this.#call(
        "GET",
        `/bookmarks/${encodeURIComponent(scriptId)}?${pageQuery(cursor)}`,
      );
      all.push(...page.bookmarks);
      cursor = page.next_cursor;
    } while (cursor);
    return all;
  }

  /** The listener's sessions, live and ended ones, the latest begun first. */
  async sessions(): Promise<ListedSession[]> {
    const page: { sessions: ListedSession[] } = await this.#call("GET", `/sessions?${pageQuery(null)}`);
    return page.sessions;
  }

  /** The session's moves and refused places, the latest first. */
  async history(sessionId: string): Promise<HistoryEntry[]> {
    const page: { entries: HistoryEntry[] } = await this.#call("GET", `/sessions/${encodeURIComponent(sessionId)}/history`);
    return page.entries;
  }

  async addBookmark(scriptId: string, position: number, title: string): Promise<Bookmark> {
    return await this.#call("POST", "/bookmark", { script_id: scriptId, position, ...(title && { title }) });
  }

  async deleteBookmark(bookmarkId: string): Promise<void> {
    await this.#call("DELETE", `/bookmark/${encodeURIComponent(bookmarkId)}`);
  }

  async #call<Good>(method: string, path: string, body?: object): Promise<Good> {
    const response = await this.#answered(method, path, body);
    return (response.status === 204 ? undefined : await response.json()) as Good;
  }

  async #answered(method: string, path: string, body?: object): Promise<Response> {
    const headers: Record<string, string> = { Authorization: `Bearer ${this.#token}` };
    if (body) headers["Content-Type"] = "application/json";
    let response: Response;
    try {
      response = await fetch(BASE + path, { method, headers, ...(body && { body: JSON.stringify(body) }) });
    } catch {
      throw new Refusal({ code: "unreachable", message: "The server does not answer. Try again in a moment.", retry: true });
    }
    if (!response.ok) {
      const refusal = await refusalOf(response);
      if (response.status === 401) this.#unauthorized(refusal);
      throw refusal;
    }
    return response;
  }
}

function pageQuery(cursor: string | null): string {
  return new URLSearchParams({ limit: String(PAGE_SIZE), ...(cursor && { cursor }) }).toString();
}

async function refusalOf(response: Response): Promise<Refusal> {
  const problem = (await response.json().catch(() => ({}))) as Problem;
  return new Refusal({
    code: problem.code ?? `http_${response.status}`,
    message: problem.detail ?? problem.title ?? `The server answered ${response.status}. Try again in a moment.`,
    // What a proxy answers for a server that is away is no problem document.
    retry: problem.retry ?? (response.status === 429 || response.status >= 500),
  });
}
