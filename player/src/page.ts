/**
 * The page: signs in, puts the parts together, and keeps them drawn.
 * Owns the order of things; each part owns what it shows.
 */

import { Api } from "./api.ts";
import { Bookmarks } from "./bookmarks.ts";
import { Chapters } from "./chapters.ts";
import { ClockEstimator } from "./clock.ts";
import { Connection } from "./connection.ts";
import type { Status } from "./connection_events.ts";
import { Devices } from "./devices.ts";
import { byTestId, find, setText } from "./dom.ts";
import { deviceName, identity, signIn, signOut, storedToken, takeInvitation } from "./identity.ts";
import { History } from "./history.ts";
import { Library } from "./library.ts";
import { Listening } from "./listening.ts";
import { SleepTimer } from "./sleep_timer.ts";
import { clearProblems, showProblem } from "./toasts.ts";
import { Transport } from "./transport.ts";
import { WantedScript } from "./wanted_script.ts";
import type { Script, State, WireError } from "./wire.ts";

const SKIP_KEYS: Readonly<Record<string, number>> = { ArrowLeft: -5_000, ArrowRight: 5_000 };
const SCRIPT_KEY = "playhead.script";
/** How long signing out waits for the server to have heard of it. */
const LEAVE_MS_MAX = 2_000;
const STATUS_WORDS: Readonly<Record<Status, string>> = {
  connecting: "Connecting",
  connected: "In sync",
  reconnecting: "Reconnecting",
  refused: "Refused",
};

/** What tests and curious eyes may read; nothing here changes anything. */
interface PlayheadView {
  positionMs(): number;
  serverNowMs(): number;
  state(): State | null;
  readonly deviceId: string;
  readonly audio: HTMLAudioElement;
}
declare global {
  interface Window {
    playhead?: PlayheadView;
  }
}

class Page {
  readonly #listening: Listening;
  readonly #connection: Connection;
  readonly #library: Library;
  readonly #transport: Transport;
  readonly #devices: Devices;
  readonly #bookmarks: Bookmarks;
  readonly #chapters: Chapters;
  readonly #history: History;
  readonly #sleepTimer: SleepTimer;
  readonly #wanted: WantedScript;

  constructor(token: string) {
    const me = identity(token);
    const clock = new ClockEstimator();
    const api = new Api(token, (refusal) => this.#refused(refusal));
    const look = async (id: string): Promise<Script> => this.#library.script(id) ?? (await api.script(id));
    this.#wanted = new WantedScript(look, {
      found: (script) => this.#openWanted(script),
      problem: showProblem,
    });
    this.#listening = new Listening(me.device.id, find<HTMLAudioElement>("audio"), clock, api, {
      changed: () => this.#update(),
      problem: showProblem,
      movedHere: (scriptId) => this.#wanted.want(scriptId),
    });
    this.#transport = new Transport(this.#listening);
    this.#devices = new Devices(this.#listening);
    this.#bookmarks = new Bookmarks(api, this.#listening, (places) => this.#transport.showBookmarks(places));
    this.#chapters = new Chapters(api, this.#listening);
    this.#history = new History(api, this.#listening);
    this.#sleepTimer = new SleepTimer(this.#listening);
    this.#library = new Library(api, this.#listening, (script) => this.#open(script));
    this.#connection = this.#connect(me, clock);
    this.#listening.use(this.#connection);
    this.#exposeView();
    this.#bind();
  }

  /** Opens the script that a link names, else the one that this tab had open before. */
  start(linked: string | null): void {
    find("main.sign-in").hidden = true;
    find("main.app").hidden = false;
    find(".signed-in").hidden = false;
    this.#connection.open();
    void this.#library.refresh();
    const wanted = linked ?? sessionStorage.getItem(SCRIPT_KEY);
    if (wanted) this.#wanted.want(wanted);
    const frame = (): void => {
      this.#transport.draw();
      this.#chapters.draw();
      this.#sleepTimer.draw();
      requestAnimationFrame(frame);
    };
    requestAnimationFrame(frame);
    this.#update();
  }

  #connect(me: ReturnType<typeof identity>, clock: ClockEstimator): Connection {
    return new Connection("", me, clock, {
      status: (status) => {
        showStatus(status);
        if (status === "reconnecting") this.#listening.lineLost();
      },
      refused: (error) => this.#refused(error),
      catchUp: (ack, ask) => this.#listening.catchUp(ack, ask),
      joined: (ack) => {
        this.#listening.joined(ack);
        void this.#bookmarks.load();
      },
      joinFailed: (error) => showProblem(error.message),
      state: (state) => this.#listening.applyState(state),
      devices: (told) => this.#listening.applyDevices(told),
      sessionStarted: ({ state }) => this.#listening.applyState(state),
      sessionEnded: (event) => {
        this.#listening.sessionEnded(event);
        this.#connection.resync();
      },
      bookmark: (change) => this.#bookmarks.apply(change),
      prepared: (event) => {
        this.#library.prepared(event);
        if (event.script_id === this.#listening.script?.script_id) this.#transport.showPreparation(event);
      },
      streamRenewed: (event) => this.#listening.streamRenewed(event),
      expiring: () => showProblem("Your token runs out in a minute. Open your link again, or sign in with a newer one."),
      latest: () => this.#listening.state,
    });
  }

  #open(script: Script): void {
    this.#wanted.forget();
    document.body.dataset["view"] = "stage";
    if (script.script_id === this.#listening.script?.script_id) return;
    sessionStorage.setItem(SCRIPT_KEY, script.script_id);
    this.#transport.scriptChanged();
    this.#bookmarks.clear();
    this.#chapters.clear();
    this.#transport.showPreparation(script);
    this.#listening.open(script);
    void this.#bookmarks.load();
    document.title = `${script.title} · playhead`;
  }

  #openWanted(script: Script): void {
    if (script.status !== "failed") this.#open(script);
  }

  #update(): void {
    this.#transport.update();
    this.#devices.update();
    this.#sleepTimer.update();
    this.#history.update();
    this.#chapters.update();
    this.#library.update();
  }

  /** A token that is not taken: back to the form, with the server's reason. */
  #refused(error: Pick<WireError, "message">): void {
    signOut();
    clearProblems();
    this.#wanted.forget();
    this.#library.close();
    this.#connection.close();
    this.#listening.close();
    showSignIn(error.message);
  }

  #bind(): void {
    const listening = this.#listening;
    document.addEventListener("keydown", (event) => this.#key(event));
    const unlock = (): void => listening.sound.unlock();
    document.addEventListener("pointerdown", unlock, { once: true });
    document.addEventListener("keydown", unlock, { once: true });
    document.addEventListener("visibilitychange", () => {
      if (document.hidden) listening.hidden();
      else this.#connection.resync();
    });
    addEventListener("pagehide", () => listening.leaving());
    addEventListener("pageshow", (event) => event.persisted && this.#connection.resync());
    addEventListener("online", () => this.#connection.resync());
    find(".stage .back").addEventListener("click", () => (document.body.dataset["view"] = "library"));
    byTestId("sign-out").addEventListener("click", () => void this.#leave());
  }

  /** Signs out. Who signs in again at once is this device again: nothing may sound on in silence until then. */
  async #leave(): Promise<void> {
    this.#listening.leaving();
    await Promise.race([this.#listening.leave(), new Promise((over) => setTimeout(over, LEAVE_MS_MAX))]);
    signOut();
    sessionStorage.removeItem(SCRIPT_KEY);
    location.reload();
  }

  /** Space plays and pauses, the arrows seek; not where the key means something to the element in focus. */
  #key(event: KeyboardEvent): void {
    if (event.ctrlKey || event.metaKey || event.altKey || !this.#listening.script) return;
    const target = event.target as HTMLElement;
    const typing = target.matches("input:not([type=range]), select, textarea");
    const skipMs = SKIP_KEYS[event.key];
    if (event.key === " " && !typing && !target.matches("button, summary")) void this.#listening.toggle();
    else if (skipMs !== undefined && !typing) void this.#listening.seekBy(skipMs);
    else return;
    event.preventDefault();
  }

  #exposeView(): void {
    const listening = this.#listening;
    window.playhead = Object.freeze({
      positionMs: () => listening.positionMs,
      serverNowMs: () => listening.serverNowMs(),
      state: () => listening.state,
      deviceId: listening.deviceId,
      audio: listening.sound.audio,
    });
  }
}

function showStatus(status: Status): void {
  const element = byTestId("connection");
  element.dataset["state"] = status;
  setText(find(".word", element), STATUS_WORDS[status]);
}

function showSignIn(reason: string | null): void {
  find("main.app").hidden = true;
  find(".signed-in").hidden = true;
  find("main.sign-in").hidden = false;
  const error = byTestId("sign-in-error");
  error.hidden = reason === null;
  error.textContent = reason;
  byTestId<HTMLInputElement>("device-name").value = deviceName();
  byTestId("token").focus();
}

byTestId<HTMLFormElement>("sign-in-form").addEventListener("submit", (event) => {
  event.preventDefault();
  const name = byTestId<HTMLInputElement>("device-name").value.trim();
  signIn(byTestId<HTMLInputElement>("token").value.trim(), name);
  // A fresh page per listener: nothing of the one before can linger.
  location.reload();
});

const invitation = takeInvitation();
const token = storedToken();
if (token) new Page(token).start(invitation.script);
else showSignIn(null);
// An address that was pasted over an open page only changes its fragment.
addEventListener("hashchange", () => location.hash.includes("token=") && location.reload());
