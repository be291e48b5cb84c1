/** The list of scripts one may hear, with how far they are prepared and which one is playing somewhere. */

import type { Api } from "./api.ts";
import { byTestId, find, fromTemplate, setText, showList } from "./dom.ts";
import { formatShare, formatTime } from "./format.ts";
import type { Listening } from "./listening.ts";
import { secondsToMs } from "./playhead.ts";
import { Refusal } from "./refusal.ts";
import { ScriptList, type ScriptPage } from "./script_list.ts";
import { showProblem } from "./toasts.ts";
import type { Preparation, Script } from "./wire.ts";

/** While something is being prepared (or nothing is there yet) the list is asked for again this often. */
const POLL_MS = 3_000;

export class Library {
  readonly #api: Api;
  readonly #listening: Listening;
  readonly #pick: (script: Script) => void;
  readonly #list = new ScriptList();
  #timer: ReturnType<typeof setTimeout> | undefined;
  #closed = false;

  constructor(api: Api, listening: Listening, pick: (script: Script) => void) {
    this.#api = api;
    this.#listening = listening;
    this.#pick = pick;
    find(".library .more").onclick = () => void this.#loadMore();
  }

  close(): void {
    this.#closed = true;
    clearTimeout(this.#timer);
  }

  script(scriptId: string): Script | undefined {
    return this.#list.find(scriptId);
  }

  /** The first page anew; what was loaded beyond it stays. */
  async refresh(): Promise<void> {
    clearTimeout(this.#timer);
    const page = await this.#ask(null);
    if (this.#closed) return;
    if (page) {
      this.#list.refresh(page);
      this.update();
    }
    const { scripts } = this.#list;
    const unfinished = scripts.some(({ status }) => status === "queued" || status === "processing");
    if (unfinished || !scripts.length) this.#timer = setTimeout(() => void this.#poll(), POLL_MS);
  }

  /** A script has come further. Why one has failed is only in the list. */
  prepared(event: Preparation): void {
    this.#list.prepared(event);
    if (event.status === "failed") void this.refresh();
    else this.update();
  }

  update(): void {
    byTestId("no-scripts").hidden = this.#list.scripts.length > 0;
    find(".library .more").hidden = this.#list.cursor === null;
    showList(
      byTestId("scripts"),
      this.#list.scripts,
      (script) => script.script_id,
      (script) => this.#make(script.script_id),
      (element, script) => this.#fill(element, script),
    );
  }

  async #poll(): Promise<void> {
    if (document.hidden) this.#timer = setTimeout(() => void this.#poll(), POLL_MS);
    else await this.refresh();
  }

  async #loadMore(): Promise<void> {
    const { cursor } = this.#list;
    const page = cursor ? await this.#ask(cursor) : null;
    if (!page) return;
    this.#list.append(page);
    this.update();
  }

  async #ask(cursor: string | null): Promise<ScriptPage | null> {
    try {
      return await this.#api.scripts(cursor);
    } catch (error) {
      if (!(error instanceof Refusal)) throw error;
      showProblem(error.message);
      return null;
    }
  }

  #make(scriptId: string): HTMLElement {
    const element = fromTemplate("script-item");
    find("button", element).addEventListener("click", () => {
      const script = this.script(scriptId);
      if (script) this.#pick(script);
    });
    return element;
  }

  #fill(element: HTMLElement, script: Script): void {
    const button = find<HTMLButtonElement>("button", element);
    const open = this.#listening.script?.script_id === script.script_id;
    const elsewhere = this.#listening.elsewhere.state;
    const live = open ? this.#listening.playing : elsewhere?.script_id === script.script_id && elsewhere.playing;
    button.dataset["scriptId"] = script.script_id;
    button.disabled = script.status === "failed";
    if (open) button.setAttribute("aria-current", "true");
    else button.removeAttribute("aria-current");
    element.dataset["live"] = String(Boolean(live));
    setText(find(".title", element), script.title);
    setText(find(".about", element), aboutOf(script, live && !open ? this.#deviceName(elsewhere?.active_device) : null));
  }

  #deviceName(deviceId: string | null | undefined): string {
    return this.#listening.devices.find((device) => device.id === deviceId)?.name ?? "another device";
  }
}

function aboutOf(script: Script, playingOn: string | null): string {
  const length = formatTime(secondsToMs(script.duration));
  if (script.status === "failed") return `Failed: ${script.error ?? "the file could not be prepared"}`;
  if (playingOn) return `${length} · playing on ${playingOn}`;
  if (script.status === "queued") return `${length} · waiting to be prepared`;
  if (script.status === "processing") return `${length} · preparing ${formatShare(script.progress)}`;
  return length;
}
