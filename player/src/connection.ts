/**
 * The line to the server: handshake, join and rejoin, commands with their acks, server time.
 * Owns the socket. Knows nothing of sound or page: whatever arrives goes to `ConnectionEvents`.
 *
 *     connect -> burst of clock samples, join with the last (epoch, revision) seen -> snapshot
 *             -> what sounded without a line is told -> ready
 *     command -> waits until ready -> ack; asks again only where the refusal says `retry`
 *     draining -> when it is time, commands wait, and once none is under way the line is made anew
 *     lost    -> nobody knows whether it arrived: it is sent again under the same id, which is done once
 */

import { io, type Socket } from "socket.io-client";

import { AckWatch } from "./ack_watch.ts";
import type { Ask } from "./catch_up.ts";
import type { ClockEstimator } from "./clock.ts";
import { ClockSampler } from "./clock_sampler.ts";
import type { ConnectionEvents } from "./connection_events.ts";
import { CONNECTION_LOST, NOT_CONNECTED, PERHAPS_DONE, Refusal } from "./refusal.ts";
import type {
  Ack,
  BookmarkChange,
  ClockAck,
  Closing,
  DevicesTold,
  Draining,
  Expiring,
  JoinAck,
  Preparation,
  SessionEnded,
  SessionStarted,
  State,
  StateAck,
  StreamRenewed,
  WireError,
} from "./wire.ts";

export const PROTOCOL = 1;
/** How long a press waits for a broken line to come back before it is given up. */
const COMMAND_WAIT_MS = 15_000;
const RETRY_DELAYS_MS = [300, 1_000, 2_500];
const RESYNC_SPREAD_MS = 1_000;
const RECONNECT_MS_MIN = 400;
const RECONNECT_MS_MAX = 5_000;

export interface Identity {
  readonly token: string;
  readonly device: { readonly id: string; readonly name: string; readonly kind: string };
}

const wait = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

/** Local time in ms that never runs backwards while the page lives. */
export const localMs = (): number => performance.timeOrigin + performance.now();

export class Connection {
  readonly #socket: Socket;
  readonly #clock: ClockSampler;
  readonly #events: ConnectionEvents;
  readonly #acks = new AckWatch();
  #scriptId: string | null = null;
  #ready = false;
  #waiting: (() => void)[] = [];
  #closed = false;
  /** Why the server ends this connection, once it has said so. */
  #closing: Closing | null = null;
  #resyncTimer: ReturnType<typeof setTimeout> | undefined;
  #moveTimer: ReturnType<typeof setTimeout> | undefined;
  /** The line is to be made anew as soon as nothing is asked on it. */
  #moving = false;
  #asking = 0;
  /** Whether this line has brought the snapshot. */
  #served = false;
  /** The first snapshot of this line has come, and what sounded without one is told. */
  #catchingUp = false;
  /** Attempts of our own since a line brought it; the Socket.IO client counts those that it makes by itself. */
  #attempts = 0;

  /** `address` is the server's origin, or empty for that of the page. */
  constructor(address: string, identity: Identity, clock: ClockEstimator, events: ConnectionEvents) {
    this.#clock = new ClockSampler(clock, {
      ask: (payload) => this.#ask<ClockAck>("clock", payload),
      connected: () => this.#socket.connected,
      localMs,
    });
    this.#events = events;
    this.#socket = io(address, {
      path: "/socket.io/",
      transports: ["websocket", "polling"],
      tryAllTransports: true,
      auth: { token: identity.token, device: identity.device, protocol: PROTOCOL },
      reconnectionDelay: RECONNECT_MS_MIN,
      reconnectionDelayMax: RECONNECT_MS_MAX,
      autoConnect: false,
      forceNew: true,
    });
    this.#listen();
  }

  open(): void {
    this.#events.status("connecting");
    this.#socket.connect();
  }

  close(): void {
    this.#closed = true;
    this.#clock.closed();
    clearTimeout(this.#moveTimer);
    clearTimeout(this.#resyncTimer);
    this.#socket.disconnect();
  }

  /** Nothing that is said now is heard. */
  get away(): boolean {
    return !this.#ready;
  }

  /** How long the last question for the time was on its way, there and back. */
  get rttMs(): number {
    return this.#clock.rttMs;
  }

  /** Follows a script from now on, over every reconnect; the snapshot comes as `joined`. */
  join(scriptId: string): void {
    this.#scriptId = scriptId;
    if (this.#socket.connected) void this.#rejoin();
  }

  /** Asks for a snapshot and the time: after sleep or silence "connected" proves nothing. */
  resync(): void {
    if (!this.#socket.connected || this.#moving) return;
    void this.#rejoin();
    void this.#clock.sample(1);
  }

  /** A session of another script, as it is now; null where it is over, undefined where nobody answers. */
  async look(sessionId: string): Promise<State | null | undefined> {
    const answer = this.#ready ? await this.#ask<JoinAck>("join", { session_id: sessionId }) : null;
    if (answer === null || (isError(answer) && answer.error.retry)) return undefined;
    return isError(answer) ? null : answer.state;
  }

  /**
   * Sends a command and answers its ack; again under the same id until one comes. `base` is what it is to be done on.
   * Throws `Refusal`: the server's, or `not_connected` / `connection_lost` when the line is to blame.
   */
  async command<Good = StateAck>(
    event: string,
    payload: object,
    commandId: string,
    base: State | null,
    pressedAtMs = localMs(),
  ): Promise<Good | StateAck> {
    const deadlineMs = pressedAtMs + COMMAND_WAIT_MS;
    const body = { ...payload, command_id: commandId };
    let [lost, unsure] = [false, false];
    for (let attempt = 0; ; attempt += 1) {
      await this.#whenReady(deadlineMs, lost ? CONNECTION_LOST : NOT_CONNECTED);
      // Where it was done, the server knows its id and answers as the first time; where not, it must find what we saw.
      // In the life of the store in which it was asked it has the answer, however late.
      const guarded = base && (lost || (unsure && this.#events.latest()?.epoch !== base.epoch));
      const answer = await this.#ask<Good>(event, guarded ? { ...body, ...this.#expected(base) } : body);
      if (answer === null) {
        lost = true;
        continue;
      }
      if (!isError(answer)) {
        // To a repeat this is the first answer, as it was then: the session may have ended since.
        if (attempt > 0) this.#resyncLater();
        return answer;
      }
      if (lost && answer.error.code === "conflict") throw new Refusal({ ...answer.error, ...CONNECTION_LOST });
      unsure ||= PERHAPS_DONE.has(answer.error.code);
      const delayMs = RETRY_DELAYS_MS[attempt];
      if (!answer.error.retry || delayMs === undefined) throw new Refusal(answer.error);
      await wait(Math.max(delayMs, answer.error.retry_after_ms ?? 0));
    }
  }

  /** What a repeat must find. In another life of the store it can only be the number: whether that has moved, it tells. */
  #expected(base: State): object {
    const sameEpoch = this.#events.latest()?.epoch === base.epoch;
    return { expected_revision: base.revision, ...(sameEpoch && { expected_epoch: base.epoch }) };
  }

  /** Sends a report once. Null when the line is down: the next report covers it. */
  async report(payload: object): Promise<Ack<StateAck> | null> {
    return this.#ready ? await this.#ask<StateAck>("progress", payload) : null;
  }

  /** The last word of a page that goes away: nobody is left to hear the ack. */
  lastReport(payload: object): void {
    if (this.#ready) this.#socket.emit("progress", payload);
  }

  #listen(): void {
    const socket = this.#socket;
    socket.on("connect", () => this.#connected());
    socket.on("disconnect", (reason) => this.#disconnected(reason));
    socket.on("connect_error", (error: ConnectError) => this.#connectFailed(error.data ?? turnedAway(error)));
    socket.on("state", (state: State) => this.#events.state(state));
    socket.on("devices", (told: DevicesTold) => this.#events.devices(told));
    socket.on("session_started", (event: SessionStarted) => this.#events.sessionStarted(event));
    socket.on("session_ended", (event: SessionEnded) => this.#events.sessionEnded(event));
    socket.on("bookmark", (change: BookmarkChange) => this.#events.bookmark(change));
    socket.on("prepare", (event: Preparation) => this.#events.prepared(event));
    socket.on("resync", () => this.#resyncLater());
    socket.on("stream", (event: StreamRenewed) => this.#events.streamRenewed(event));
    socket.on("expiring", (event: Expiring) => this.#events.expiring(event));
    socket.on("draining", (event: Draining) => this.#moveLater(event.retry_after_ms));
    socket.on("closing", (closing: Closing) => (this.#closing = closing));
  }

  #connected(): void {
    this.#events.status("connected");
    this.#served = false;
    // First asked, first answered: where a state says that things are is known by the server's time alone.
    void this.#clock.opened();
    if (this.#scriptId) void this.#rejoin();
    else this.#becomeReady();
  }

  #disconnected(reason: string): void {
    const leaving = this.#moving;
    this.#ready = false;
    this.#moving = false;
    this.#clock.closed();
    clearTimeout(this.#moveTimer);
    const closing = this.#closing;
    this.#closing = null;
    if (this.#closed) return;
    if (closing && !closing.retry) {
      this.#refused(closing);
      return;
    }
    this.#events.status("reconnecting");
    // The client's own attempts begin anew with every line that opens, also with those that bring nothing.
    const useless = !this.#served && !leaving;
    if (useless) this.#socket.disconnect();
    if (useless || reason === "io server disconnect") this.#connectLater(closing?.retry_after_ms);
  }

  #connectFailed(refusal: WireError | undefined): void {
    if (refusal && !refusal.retry) {
      this.#refused(refusal);
      return;
    }
    this.#events.status("reconnecting");
    // A refusal ends the client's own attempts; a transport error does not, and they would come too soon.
    if (refusal?.retry_after_ms) this.#socket.disconnect();
    if (!this.#socket.active) this.#connectLater(refusal?.retry_after_ms);
  }

  /** Many devices are asked at once: each comes a little later than the next. */
  #resyncLater(): void {
    clearTimeout(this.#resyncTimer);
    this.#resyncTimer = setTimeout(() => this.resync(), Math.random() * RESYNC_SPREAD_MS);
  }

  /** The server goes away: there will be another one. */
  #moveLater(afterMs: number): void {
    clearTimeout(this.#moveTimer);
    this.#moveTimer = setTimeout(() => {
      this.#ready = false;
      this.#moving = true;
      this.#moveWhenIdle();
    }, afterMs);
  }

  #moveWhenIdle(): void {
    if (!this.#moving || this.#asking > 0) return;
    this.#socket.disconnect().connect();
    this.#moving = false;
  }

  #refused(error: WireError): void {
    this.#events.status("refused");
    this.#events.refused(error);
  }

  /** `askedMs`: how long the server wants to be left alone. */
  #connectLater(askedMs = 0): void {
    const delayMs = Math.min(RECONNECT_MS_MIN * 2 ** this.#attempts, RECONNECT_MS_MAX) * (0.5 + Math.random());
    this.#attempts += 1;
    setTimeout(() => this.#closed || this.#socket.connect(), askedMs + delayMs);
  }

  async #rejoin(): Promise<void> {
    const scriptId = this.#scriptId;
    if (!scriptId || this.#catchingUp) return;
    this.#ready = false;
    const held = this.#events.latest();
    const seen = held ? { epoch: held.epoch, revision: held.revision } : undefined;
    const answer = await this.#ask<JoinAck>("join", { script_id: scriptId, seen });
    if (answer === null || scriptId !== this.#scriptId || !this.#socket.connected) return;
    if (!isError(answer) && answer.state === null && this.#events.latest() !== held) {
      // Something of the session has come since: an answer that does not have it may be older.
      await this.#rejoin();
    } else if (!isError(answer)) {
      const telling = this.#served ? null : this.#catchUp(scriptId, answer);
      const snapshot = telling ? await telling : answer;
      if (!snapshot) return;
      // Presses that waited go on after this, so a report of what is joined is sent first.
      this.#becomeReady();
      this.#events.joined(snapshot);
    } else if (answer.error.retry) {
      setTimeout(() => this.#socket.connected && void this.#rejoin(), RETRY_DELAYS_MS[1]);
    } else {
      this.#events.joinFailed(answer.error);
    }
  }

  #catchUp(scriptId: string, answer: JoinAck): Promise<JoinAck | null> | null {
    const { id } = this.#socket;
    const there = (): boolean => this.#socket.connected && this.#socket.id === id;
    const ask: Ask = async (event, payload) => (there() ? await this.#ask(event, payload) : null);
    const telling = this.#events.catchUp(answer, ask);
    if (!telling) return null;
    this.#catchingUp = true;
    const told = telling.finally(() => (this.#catchingUp = false));
    return told.then((snapshot) => {
      if (snapshot && there() && scriptId === this.#scriptId) return snapshot;
      // Another script was opened, or there is another line already, which has waited for this.
      if (this.#socket.connected) void this.#rejoin();
      return null;
    });
  }

  #becomeReady(): void {
    this.#served = true;
    this.#attempts = 0;
    if (this.#moving) return;
    this.#ready = true;
    const waiting = this.#waiting;
    this.#waiting = [];
    for (const resume of waiting) resume();
  }

  #whenReady(deadlineMs: number, otherwise: WireError): Promise<void> {
    if (localMs() >= deadlineMs) return Promise.reject(new Refusal(otherwise));
    if (this.#ready) return Promise.resolve();
    return new Promise((resolve, reject) => {
      const timer = setTimeout(
        () => {
          this.#waiting = this.#waiting.filter((one) => one !== resume);
          reject(new Refusal(otherwise));
        },
        deadlineMs - localMs(),
      );
      const resume = (): void => {
        clearTimeout(timer);
        resolve();
      };
      this.#waiting.push(resume);
    });
  }

  /** The ack, or null when none came. */
  async #ask<Good>(event: string, payload: object): Promise<Ack<Good> | null> {
    this.#asking += 1;
    const { id } = this.#socket;
    try {
      return (await this.#acks.within(this.#socket.emitWithAck(event, payload))) as Ack<Good>;
    } catch {
      if (this.#socket.connected && this.#socket.id === id && !this.#moving) {
        // The line says connected and is dead, or the server owes everybody answers: make a new one, but not at once.
        this.#served = false;
        this.#socket.disconnect();
      }
      return null;
    } finally {
      this.#asking -= 1;
      this.#moveWhenIdle();
    }
  }
}

/** An error of the handshake: the server's refusal, or of the transport, with the request that failed. */
interface ConnectError extends Error {
  readonly data?: WireError;
  readonly description?: unknown;
  readonly context?: { readonly responseText?: unknown };
}

/** What a server said that takes no socket for now: the answer to long polling, as of a websocket a page learns nothing. */
function turnedAway(error: ConnectError): WireError | undefined {
  if (error.description !== 503 || typeof error.context?.responseText !== "string") return undefined;
  try {
    const refusal = JSON.parse(error.context.responseText) as WireError;
    return refusal.retry && Number.isFinite(refusal.retry_after_ms) ? refusal : undefined;
  } catch {
    return undefined; // a proxy's page
  }
}

function isError<Good>(answer: Ack<Good>): answer is { ok: false; error: WireError } {
  return (answer as { ok: boolean }).ok === false;
}
