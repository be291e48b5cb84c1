/**
 * One listener's playback of one script on this device: joins what the server says, what was pressed here and what sounds.
 * Owns the commands. Knows nothing of the page: every change ends in `changed`, every trouble in `problem`.
 */

import type { Api } from "./api.ts";
import type { ClockEstimator } from "./clock.ts";
import { type Connection, localMs } from "./connection.ts";
import { DeviceList } from "./device_list.ts";
import { uuid } from "./identity.ts";
import { endReached, positionAt, type Playhead } from "./playhead.ts";
import { Refusal } from "./refusal.ts";
import { Reports } from "./reports.ts";
import { restingPlayhead, SessionView, type Prediction } from "./session_view.ts";
import { Sound } from "./sound.ts";
import type { Ack, Device, DevicesTold, JoinAck, Place, Script, SessionEnded, State, StateAck, StreamRenewed } from "./wire.ts";

/** In so many seconds, or at the end of the loop; without either never. */
export interface SleepWhen {
  readonly after?: number;
  readonly at_end_of_loop?: boolean;
}

export interface ListeningEvents {
  changed(): void;
  problem(message: string): void;
}

export class Listening {
  readonly deviceId: string;
  readonly sound: Sound;
  script: Script | null = null;
  /** The latest state of another script of this listener, to show that it plays elsewhere. */
  elsewhere: State | null = null;
  readonly #view = new SessionView();
  readonly #deviceList = new DeviceList();
  readonly #clock: ClockEstimator;
  readonly #api: Api;
  readonly #events: ListeningEvents;
  readonly #reports: Reports;
  #connection: Connection | null = null;
  #blocked = false;
  #place: Place | null = null;
  #placeChosen = false;
  #seeking = false;
  #nextSeekMs: number | null = null;

  constructor(deviceId: string, audio: HTMLAudioElement, clock: ClockEstimator, api: Api, events: ListeningEvents) {
    this.deviceId = deviceId;
    this.#clock = clock;
    this.#api = api;
    this.#events = events;
    this.sound = new Sound(audio, () => this.serverNowMs(), {
      started: () => this.#soundStarted(),
      blocked: () => this.#soundBlocked(),
      ended: () => this.#reports.report(),
      stoppedOutside: () => void this.pause(),
      startedOutside: () => void this.play(),
      expired: () => void this.#loadStream(),
      failed: (message) => events.problem(message),
    });
    this.#reports = new Reports({
      activeState: () => (this.active ? this.#view.state : null),
      busy: () => this.#view.busy,
      positionMs: () => this.sound.positionMs,
      sounding: () => !this.sound.audio.paused,
      figures: () => this.sound.figures(),
      send: async (payload) => (await this.#connection?.report(payload)) ?? null,
      sendLast: (payload) => this.#connection?.lastReport(payload),
      answered: (ack) => this.#reportAnswered(ack),
    });
  }

  use(connection: Connection): void {
    this.#connection = connection;
  }

  serverNowMs(): number {
    return this.#clock.serverMs(localMs());
  }

  get devices(): readonly Device[] {
    return this.#deviceList.devices;
  }

  /** The latest state confirmed by the server. */
  get state(): State | null {
    return this.#view.state;
  }

  /** Whether the sound of this session is on this device. */
  get active(): boolean {
    return this.#view.state?.active_device === this.deviceId;
  }

  /** Whether all devices of the listener sound in unison. */
  get together(): boolean {
    return this.#view.state?.mode === "together";
  }

  /** Whether this device sounds when the session does. */
  get audible(): boolean {
    return this.active || this.together;
  }

  /** The browser wants a tap before this page may sound, and this page should. */
  get blocked(): boolean {
    return this.#blocked && this.audible;
  }

  /** What this device really played up to, in ms; null when the sound is elsewhere or not loaded yet. */
  get #heardMs(): number | null {
    return this.active ? this.sound.positionMs : null;
  }

  /** What to show and to sound: the session's playhead, or one that rests at the stored place. */
  get playhead(): Playhead | null {
    if (!this.script) return null;
    return this.#view.playhead ?? restingPlayhead(this.script, this.#place);
  }

  get positionMs(): number {
    const { playhead } = this;
    return playhead ? positionAt(playhead, this.serverNowMs()) : 0;
  }

  get playing(): boolean {
    const { playhead } = this;
    return playhead !== null && playhead.playing && !endReached(playhead, this.serverNowMs());
  }

  get ended(): boolean {
    const { playhead } = this;
    if (!playhead || this.playing) return false;
    return this.#view.state?.ended === true || endReached(playhead, this.serverNowMs());
  }

  /** Opens a script on this device; the one before is left, which pauses it if it sounded here. */
  open(script: Script): void {
    if (script.script_id === this.script?.script_id) return;
    const before = this.#view.state;
    if (before) void this.#command("leave", { session_id: before.session_id }, null, null);
    this.#view.clear();
    this.#place = null;
    this.#placeChosen = false;
    this.#blocked = false;
    this.script = script;
    if (this.elsewhere?.script_id === script.script_id) this.elsewhere = null;
    this.sound.follow(null);
    this.sound.unload();
    void this.#loadStream();
    this.#connection?.join(script.script_id);
    this.#events.changed();
  }

  // What the server says

  joined(ack: JoinAck): void {
    this.#deviceList.take(ack);
    if (ack.state) {
      this.#view.apply(ack.state);
    } else {
      this.#view.clear();
      if (!this.#placeChosen) this.#place = ack.place;
    }
    this.#changed();
    if (ack.state?.playing) this.#reports.report();
  }

  applyState(state: State): void {
    if (state.script_id !== this.script?.script_id) {
      this.elsewhere = state;
      this.#events.changed();
      return;
    }
    const wasPlaying = this.active && this.#view.state?.playing;
    if (!this.#view.apply(state)) return;
    this.#changed();
    if (wasPlaying && this.active && !state.playing) this.#reports.report();
  }

  applyDevices(told: DevicesTold): void {
    if (this.#deviceList.take(told)) this.#events.changed();
  }

  streamRenewed(event: StreamRenewed): void {
    if (event.script_id === this.script?.script_id) this.sound.load(event.stream_url);
  }

  sessionEnded(event: SessionEnded): void {
    if (this.elsewhere?.session_id === event.session_id) this.elsewhere = null;
    if (this.#view.state?.session_id === event.session_id) {
      this.#place = { position: this.positionMs / 1000, finished: this.#view.state.ended };
      this.#view.clear();
    }
    this.#changed();
  }

  // What is pressed here

  async play(deviceId?: string): Promise<void> {
    if (!this.script) return;
    const { state } = this;
    const startMs = this.ended ? 0 : this.positionMs;
    const session = state ? { session_id: state.session_id } : { script_id: this.script.script_id };
    const position = state || !this.#placeChosen ? {} : { position: startMs / 1000 };
    const device = deviceId ?? (state ? undefined : this.deviceId);
    const payload = { ...session, ...position, ...(device && { device_id: device }) };
    const predict: Prediction = (before) => ({ ...before, positionMs: startMs, playing: true });
    const ack = await this.#command("play", payload, predict, this.script.script_id);
    const url = (ack as { stream_url?: string } | null)?.stream_url;
    if (url && this.#view.state?.script_id === this.script.script_id) this.sound.load(url);
  }

  async pause(): Promise<void> {
    const { state } = this;
    if (!state) return;
    const heardMs = this.#heardMs;
    const placeMs = heardMs ?? this.positionMs;
    const predict: Prediction = (before) => ({ ...before, positionMs: placeMs, playing: false });
    const heard = heardMs === null ? {} : { position: heardMs / 1000 };
    await this.#command("pause", { session_id: state.session_id, ...heard }, predict);
  }

  async toggle(): Promise<void> {
    await (this.playing ? this.pause() : this.play());
  }

  /** Seeks; while one seek is under way only the newest wish is kept, so that a held key floods nobody. */
  async seek(toMs: number): Promise<void> {
    const { state, playhead } = this;
    if (!playhead) return;
    const clampedMs = Math.round(Math.min(Math.max(toMs, 0), playhead.durationMs));
    if (!state) {
      this.#place = { position: clampedMs / 1000, finished: false };
      this.#placeChosen = true;
      this.#changed();
      return;
    }
    this.#nextSeekMs = clampedMs;
    if (this.#seeking) return;
    this.#seeking = true;
    try {
      while (this.#nextSeekMs !== null) {
        const targetMs: number = this.#nextSeekMs;
        this.#nextSeekMs = null;
        await this.#seekOnce(state.session_id, targetMs);
      }
    } finally {
      this.#seeking = false;
    }
  }

  /** Seeks relative to where the playhead is, or is about to be: presses in a row add up. */
  async seekBy(byMs: number): Promise<void> {
    await this.seek((this.#nextSeekMs ?? this.positionMs) + byMs);
  }

  async setLoop(startMs: number, endMs: number, enabled: boolean): Promise<void> {
    await this.#steer("loop", { start: startMs / 1000, end: endMs / 1000, enabled });
  }

  async setRate(rate: number): Promise<void> {
    const placeMs = this.positionMs;
    await this.#steer("rate", { rate }, (before) => ({ ...before, positionMs: placeMs, rate }));
  }

  async setTogether(together: boolean): Promise<void> {
    await this.#steer("mode", { mode: together ? "together" : "handoff" });
  }

  /** Lets the server pause by itself. */
  async sleep(when: SleepWhen): Promise<void> {
    await this.#steer("sleep", when);
  }

  /** Goes back to the place of an entry of the session's history. */
  async restore(entryId: string): Promise<void> {
    await this.#steer("restore", { entry_id: entryId });
  }

  /** Moves the sound; without a session there is none to move, so it starts on that device. */
  async soundOn(deviceId: string): Promise<void> {
    if (this.state) await this.#steer("transfer", { device_id: deviceId });
    else await this.play(deviceId);
  }

  /** The tap that a browser asked for: inside the gesture the element is freed, then playback goes on here. */
  tapped(): void {
    this.sound.unlock();
    this.#blocked = false;
    if (this.together && this.playing) this.#changed();
    else void this.play(this.deviceId);
  }

  hidden(): void {
    this.#reports.report();
  }

  leaving(): void {
    this.#reports.last();
  }

  // What sounds

  #soundStarted(): void {
    if (this.#blocked) {
      this.#blocked = false;
      this.#events.changed();
    }
    this.#reports.report();
  }

  /**
   * A playhead that runs on in silence would lose the place: the session stops where the sound could not go on.
   * In unison others still sound: there this device alone waits for the tap.
   */
  #soundBlocked(): void {
    this.#blocked = true;
    if (this.active) void this.pause();
    else this.#events.changed();
  }

  #reportAnswered(ack: Ack<StateAck>): void {
    const state = ack.ok ? ack.state : ack.error.state;
    if (state && state.script_id === this.script?.script_id) this.#view.apply(state);
    this.#changed();
  }

  async #loadStream(): Promise<void> {
    const { script } = this;
    if (!script) return;
    try {
      const stream = await this.#api.stream(script.script_id);
      if (script === this.script) this.sound.load(stream.stream_url, stream.loudness?.gain_db ?? null);
    } catch (error) {
      if (script === this.script && error instanceof Refusal) this.#events.problem(error.message);
    }
  }

  // How a command goes

  /** A command to the session; without one there is nothing to steer. */
  async #steer(event: string, fields: object, predict: Prediction | null = null): Promise<void> {
    const { state } = this;
    if (state) await this.#command(event, { session_id: state.session_id, ...fields }, predict);
  }

  async #seekOnce(sessionId: string, toMs: number): Promise<void> {
    const heardMs = this.#heardMs;
    const from = heardMs === null ? {} : { from: heardMs / 1000 };
    await this.#command("seek", { session_id: sessionId, position: toMs / 1000, ...from }, (before) => {
      const { loop } = before;
      const outside = loop?.enabled && (toMs < loop.startMs || toMs >= loop.endMs);
      return { ...before, positionMs: toMs, loop: loop && outside ? { ...loop, enabled: false } : loop };
    });
  }

  async #command(
    event: string,
    payload: object,
    predict: Prediction | null,
    forScript: string | null = this.script?.script_id ?? null,
  ): Promise<StateAck | null> {
    if (!this.#connection) return null;
    const commandId = uuid();
    const pressedAtMs = this.serverNowMs();
    const base = this.#view.state;
    // In unison the server says when it happens, on all devices at one moment that lies a little ahead.
    const guess = this.together ? null : predict;
    this.#view.begin(commandId, guess && ((before) => ({ ...guess(before), anchoredAtMs: pressedAtMs })));
    this.#changed();
    try {
      const ack = await this.#connection.command(event, payload, commandId, base);
      this.#takeAnswer(ack.state, forScript);
      return ack;
    } catch (error) {
      if (!(error instanceof Refusal)) throw error;
      this.#takeAnswer(error.detail.state ?? null, forScript);
      if (forScript === this.script?.script_id) this.#events.problem(error.message);
      return null;
    } finally {
      this.#view.settle(commandId);
      this.#changed();
      this.#reports.flush();
    }
  }

  #takeAnswer(state: State | null, forScript: string | null): void {
    if (state && state.script_id === forScript && forScript === this.script?.script_id) this.#view.apply(state);
  }

  /** Sounds here only what is to sound here; with no session yet, the first second is fetched so that play is instant. */
  #changed(): void {
    const here = this.audible || this.#view.state === null;
    this.sound.follow(here ? this.playhead : null, this.active);
    this.#events.changed();
  }
}
