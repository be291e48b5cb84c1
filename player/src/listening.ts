/**
 * One listener's playback of one script on this device: joins what the server says, what was pressed here and what sounds.
 * Owns the commands. Knows nothing of the page: every change ends in `changed`, every trouble in `problem`.
 */

import type { Api } from "./api.ts";
import { CatchUp, type Ask } from "./catch_up.ts";
import type { ClockEstimator } from "./clock.ts";
import { Commands } from "./commands.ts";
import { type Connection, localMs } from "./connection.ts";
import { Controls } from "./controls.ts";
import { DeviceList } from "./device_list.ts";
import { OtherScripts } from "./other_scripts.ts";
import { endReached, positionAt, type Playhead } from "./playhead.ts";
import { Reports } from "./reports.ts";
import { RestingPlace } from "./resting_place.ts";
import { SeekQueue } from "./seek_queue.ts";
import { restingPlayhead, SessionView, soughtTo, type Prediction } from "./session_view.ts";
import { Sound } from "./sound.ts";
import { StreamSource } from "./stream_source.ts";
import type { Ack, Device, DevicesTold, JoinAck, Script, SessionEnded, State, StateAck, StreamRenewed } from "./wire.ts";

/** How often it is noted where the sound is. */
const LOOK_MS = 100;

export interface ListeningEvents {
  changed(): void;
  problem(message: string): void;
  /** Somebody lets another script sound on this device: it is to be opened. */
  movedHere(scriptId: string): void;
}

export class Listening {
  readonly deviceId: string;
  readonly sound: Sound;
  readonly controls: Controls;
  readonly elsewhere: OtherScripts;
  script: Script | null = null;
  readonly #view = new SessionView();
  readonly #deviceList = new DeviceList();
  readonly #clock: ClockEstimator;
  readonly #source: StreamSource;
  readonly #events: ListeningEvents;
  readonly #reports: Reports;
  readonly #commands: Commands;
  readonly #catchUp: CatchUp;
  readonly #seeks = new SeekQueue((toMs) => this.#seekOnce(toMs));
  readonly #resting = new RestingPlace();
  #blocked = false;

  constructor(deviceId: string, audio: HTMLAudioElement, clock: ClockEstimator, api: Api, events: ListeningEvents) {
    this.deviceId = deviceId;
    this.#clock = clock;
    this.#events = events;
    this.sound = new Sound(audio, () => this.serverNowMs(), {
      started: () => this.#soundStarted(),
      asking: () => this.#reports.underWay,
      alone: () => this.#commands.connection?.away === true,
      blocked: () => this.#soundBlocked(),
      ended: () => this.#reports.report(),
      stoppedOutside: () => void this.pause(),
      startedOutside: () => void this.play(),
      expired: () => this.#source.renew(),
      failed: (message) => events.problem(message),
      gaveUp: (message) => this.#soundGaveUp(message),
    });
    this.#source = new StreamSource(api, this.sound, () => this.#view.state, (message) => events.problem(message));
    this.#commands = new Commands(this.#view, () => this.serverNowMs(), () => this.script?.script_id ?? null, {
      changed: () => this.#changed(),
      settled: () => {
        this.#changed();
        this.#reports.flush();
      },
      told: (state) => this.#apply(state),
      problem: (message) => events.problem(message),
    });
    this.elsewhere = new OtherScripts(deviceId, api, this.#commands, {
      changed: () => events.changed(),
      movedHere: (scriptId) => events.movedHere(scriptId),
      told: (state) => this.applyState(state),
    });
    this.controls = new Controls(this.#commands, () => this.positionMs);
    const activeState = (): State | null => (this.active ? this.#view.state : null);
    this.#reports = new Reports({
      activeState,
      busy: () => this.#view.busy,
      positionMs: () => this.sound.positionMs,
      serverMs: () => (clock.sampleCount > 0 ? this.serverNowMs() : null),
      sounding: () => !this.sound.audio.paused,
      figures: () => this.sound.figures(),
      send: async (payload) => (await this.#commands.connection?.report(payload)) ?? null,
      sendLast: (payload) => this.#commands.connection?.lastReport(payload),
      answered: (ack, atMs) => this.#reportAnswered(ack, atMs),
    });
    this.#catchUp = new CatchUp({
      deviceId,
      activeState,
      placeMs: () => this.sound.positionMs,
      sounding: () => this.#view.playhead?.playing === true && !audio.paused,
      moving: () => this.sound.moving,
      rate: () => audio.playbackRate,
      serverMs: () => this.serverNowMs(),
      rttMs: () => this.#commands.connection?.rttMs ?? 0,
      problem: (message) => events.problem(message),
    });
    setInterval(() => this.#catchUp.look(), LOOK_MS);
  }

  use(connection: Connection): void {
    this.#commands.connection = connection;
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
    const { playhead } = this.#view;
    const { positionMs } = this.sound;
    if (!this.active || !playhead || positionMs === null) return null;
    // The media end with a whole frame, which may be a little after the script.
    return Math.min(positionMs, playhead.durationMs);
  }

  /** What to show and to sound: the session's playhead, or one that rests at the stored place. */
  get playhead(): Playhead | null {
    if (!this.script) return null;
    return this.#view.playhead ?? restingPlayhead(this.script, this.#resting.place);
  }

  get positionMs(): number {
    const { playhead } = this;
    return playhead ? positionAt(playhead, this.serverNowMs()) : 0;
  }

  get playing(): boolean {
    const { playhead } = this;
    return playhead !== null && playhead.playing && !endReached(playhead, this.serverNowMs());
  }

  /** Played to the end, as far as this device or the server knows. */
  get ended(): boolean {
    const { playhead } = this;
    return playhead !== null && playhead.durationMs > 0 && !this.playing && this.positionMs >= playhead.durationMs;
  }

  /** Opens a script on this device; the one before is left, which pauses it if it sounded here. */
  open(script: Script): void {
    if (script.script_id === this.script?.script_id) return;
    if (this.state) void this.elsewhere.leave(this.state.session_id, this.#heardMs);
    this.#begin(script);
    this.#commands.connection?.join(script.script_id);
  }

  /** What sounds here stops, and the server is told where. */
  async leave(): Promise<void> {
    const { state } = this;
    if (state && this.active) await this.elsewhere.leave(state.session_id, this.#heardMs);
  }

  /** Nobody is signed in any more: nothing is open, nothing sounds, and no press does anything. */
  close(): void {
    this.#commands.connection = null;
    this.#begin(null);
    this.#catchUp.forget();
  }

  /** Nothing of the script before may linger. */
  #begin(script: Script | null): void {
    this.#catchUp.opened();
    this.script = script;
    this.elsewhere.opened(script?.script_id ?? null);
    this.#view.clear();
    this.#resting.forget();
    this.#blocked = false;
    this.#seeks.forget();
    this.sound.follow(null);
    this.sound.unload();
    this.#source.open(script);
    this.#events.changed();
  }

  // What the server says

  /** The line is lost: what is heard from now on it hears of later. */
  lineLost(): void {
    this.#catchUp.lost();
  }

  catchUp(ack: JoinAck, ask: Ask): Promise<JoinAck | null> | null {
    return this.#catchUp.tell(ack, ask);
  }

  joined(ack: JoinAck): void {
    this.#deviceList.take(ack);
    if (ack.state) {
      this.#apply(ack.state);
      // The server has heard nothing of the pause that was pressed here, and nobody has moved the playhead since.
      if (this.#view.holding && !this.#view.busy) void this.pause();
    } else {
      this.#view.clear();
      this.#resting.told(ack.place);
    }
    this.#changed();
    if (ack.state?.playing) this.#reports.report();
    this.elsewhere.joined();
  }

  applyState(state: State): void {
    if (state.script_id !== this.script?.script_id) {
      this.elsewhere.take(state);
      return;
    }
    const wasPlaying = this.active && this.#view.state?.playing;
    if (!this.#apply(state)) return;
    this.#changed();
    if (wasPlaying && this.active && !state.playing) this.#reports.report();
  }

  /** Takes a state of the script that is open: the server knows the place from now on. Answers whether it is later. */
  #apply(state: State): boolean {
    this.#resting.known();
    return this.#view.apply(state);
  }

  applyDevices(told: DevicesTold): void {
    if (this.#deviceList.take(told)) this.#events.changed();
  }

  streamRenewed(event: StreamRenewed): void {
    if (event.script_id === this.script?.script_id) this.sound.load(event.stream_url);
  }

  sessionEnded(event: SessionEnded): void {
    this.elsewhere.ended(event.session_id);
    if (this.#view.state?.session_id === event.session_id) {
      this.#resting.left(this.positionMs);
      this.#view.clear();
    }
    this.#changed();
  }

  // What is pressed here

  async play(deviceId?: string): Promise<void> {
    const { script, state } = this;
    if (!script) return;
    const startMs = this.ended ? 0 : this.positionMs;
    const live = state !== null && !state.ended;
    const session = live ? { session_id: state.session_id } : { script_id: script.script_id };
    const position = live || !this.#resting.chosen ? {} : { position: startMs / 1000 };
    const device = deviceId ?? (live ? undefined : this.deviceId);
    const payload = { ...session, ...position, ...(device && { device_id: device }) };
    const predict: Prediction = (before) => ({ ...before, positionMs: startMs, playing: true });
    this.#resting.starts(!live);
    const ack = await this.#commands.send("play", payload, { predict });
    if (script.script_id !== this.script?.script_id) {
      // Another script was opened meanwhile: this one would go on here in silence.
      if (ack?.state?.active_device === this.deviceId) void this.elsewhere.leave(ack.state.session_id, null);
      return;
    }
    const jumpMs = this.#resting.started();
    const url = (ack as { stream_url?: string } | null)?.stream_url;
    if (url) this.sound.load(url);
    if (jumpMs !== null) void this.seek(jumpMs);
  }

  async pause(): Promise<void> {
    const heardMs = this.#heardMs;
    const placeMs = heardMs ?? this.positionMs;
    const predict: Prediction = (before) => ({ ...before, positionMs: placeMs, playing: false });
    const heard = heardMs === null ? {} : { position: heardMs / 1000 };
    // What was stopped here does not sound again by itself because nobody heard of it.
    await this.#commands.steer("pause", heard, { predict, keep: this.active });
  }

  async toggle(): Promise<void> {
    await (this.playing ? this.pause() : this.play());
  }

  async seek(toMs: number): Promise<void> {
    const { state, playhead } = this;
    if (!playhead) return;
    const clampedMs = Math.round(Math.min(Math.max(toMs, 0), playhead.durationMs));
    if (!state) {
      this.#resting.choose(clampedMs);
      this.#changed();
      return;
    }
    await this.#seeks.to(clampedMs);
  }

  /** Seeks relative to where the playhead is, or is about to be: presses in a row add up. */
  async seekBy(byMs: number): Promise<void> {
    await this.seek((this.#seeks.nextMs ?? this.positionMs) + byMs);
  }

  /** Moves the sound; without a session there is none to move, so it starts on that device. */
  async soundOn(deviceId: string): Promise<void> {
    if (this.state) await this.#commands.steer("transfer", { device_id: deviceId });
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

  /** Nothing will come out here, however long it runs. */
  #soundGaveUp(message: string): void {
    this.#events.problem(message);
    if (this.active && this.playing) void this.pause();
  }

  #reportAnswered(ack: Ack<StateAck>, atMs: number): void {
    if (ack.ok) this.#catchUp.reported(atMs);
    const state = ack.ok ? ack.state : ack.error.state;
    if (state && state.script_id === this.script?.script_id) this.#apply(state);
    this.#changed();
  }

  async #seekOnce(toMs: number): Promise<void> {
    const heardMs = this.#heardMs;
    const from = heardMs === null ? {} : { from: heardMs / 1000 };
    await this.#commands.steer("seek", { position: toMs / 1000, ...from }, { predict: soughtTo(toMs) });
  }

  /** Sounds here only what is to sound here; with no session yet, the first second is fetched so that play is instant. */
  #changed(): void {
    this.#source.follow();
    const here = this.audible || this.#view.state === null;
    this.sound.follow(here ? this.playhead : null, this.active);
    this.#events.changed();
  }
}
