/** A real Socket.IO server in this process, anew for each test, and a connection to it; what it answers a test writes down. */

import { createServer, type Server as HttpServer } from "node:http";
import type { AddressInfo } from "node:net";
import { afterEach, beforeEach } from "node:test";

import { Server, type Socket as ServerSocket } from "socket.io";

import { ClockEstimator } from "../src/clock.ts";
import { Connection } from "../src/connection.ts";
import type { ConnectionEvents } from "../src/connection_events.ts";
import type { JoinAck, State } from "../src/wire.ts";
import { aState, NOW_MS } from "./states.ts";

export type Reply = (answer: unknown) => void;
export type Handler = (payload: Record<string, unknown>, reply: Reply, socket: ServerSocket) => void;

export const AHEAD_MS = 5_000;

/** One end of a promise and the other. */
export function deferred<T>(): { promise: Promise<T>; resolve: (value: T) => void } {
  let resolve!: (value: T) => void;
  const promise = new Promise<T>((done) => (resolve = done));
  return { promise, resolve };
}

export let http: HttpServer;
export let server: Server;
export let handlers: Record<string, Handler>;
export let received: { event: string; payload: Record<string, unknown> }[];
export let held: State | null;
export let connection: Connection | undefined;
export let clock: ClockEstimator;

export const commandsReceived = (): typeof received => received.filter(({ event }) => event !== "clock" && event !== "join");

/** What the server says of the session from now on. */
export function hold(state: State | null): void {
  held = state;
}

beforeEach(async () => {
  received = [];
  held = aState();
  clock = new ClockEstimator();
  handlers = {
    clock: ({ t0 }, reply) => {
      const now = performance.timeOrigin + performance.now() + AHEAD_MS;
      reply({ ok: true, t0, t1: now, t2: now });
    },
    join: (_payload, reply) => reply(joinAck(held)),
  };
  http = createServer();
  server = new Server(http);
  server.on("connection", (socket) => {
    socket.onAny((event: string, payload: Record<string, unknown>, reply: Reply) => {
      received.push({ event, payload });
      handlers[event]?.(payload, reply, socket);
    });
  });
  await new Promise<void>((listening) => http.listen(0, "127.0.0.1", listening));
});

afterEach(async () => {
  connection?.close();
  await server.close();
});

export function joinAck(state: State | null): JoinAck {
  return { ok: true, state, place: null, devices: [], devices_order: { epoch: 1, version: 1 }, server_time: NOW_MS };
}

/** Connects and joins; resolves with the first snapshot. */
export async function connect(events: Partial<ConnectionEvents> = {}): Promise<{ line: Connection; snapshots: JoinAck[] }> {
  const snapshots: JoinAck[] = [];
  const first = deferred<void>();
  const { port } = http.address() as AddressInfo;
  const identity = { token: "secret", device: { id: "device-1", name: "Desk", kind: "browser" } };
  connection = new Connection(`http://127.0.0.1:${port}`, identity, clock, {
    status: () => undefined,
    refused: () => undefined,
    catchUp: () => null,
    joinFailed: () => undefined,
    state: () => undefined,
    devices: () => undefined,
    sessionStarted: () => undefined,
    sessionEnded: () => undefined,
    bookmark: () => undefined,
    prepared: () => undefined,
    streamRenewed: () => undefined,
    expiring: () => undefined,
    latest: () => held,
    ...events,
    joined: (ack) => {
      snapshots.push(ack);
      events.joined?.(ack);
      first.resolve();
    },
  });
  connection.join("script-1");
  connection.open();
  await first.promise;
  return { line: connection, snapshots };
}
