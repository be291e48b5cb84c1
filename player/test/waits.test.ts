/** How long the connection waits for a server that has too much to do, and what it tells of the way to it. */

import assert from "node:assert/strict";
import { mock, test } from "node:test";

import type { Socket as ServerSocket } from "socket.io";

import { SAMPLES_MAX } from "../src/clock.ts";

import { connect, deferred, handlers, held, joinAck, received, server, type Handler } from "./line_server.ts";

/** From now on an ack is late after 100 ms, every other wait is a quarter as long, and what is random is in the middle. */
function hurry(): void {
  const later = globalThis.setTimeout;
  const hurried = (run: () => void, ms = 0): unknown => later(run, ms === 5_000 ? 100 : ms / 4);
  mock.method(globalThis, "setTimeout", hurried as typeof later);
  mock.method(Math, "random", () => 0.5);
}

for (const [how, lose] of [
  ["does not come in time", () => undefined],
  ["costs the line", (socket: ServerSocket) => socket.conn.close()],
] as const) {
  test(`where the snapshot ${how} the next line waits twice as long, though the time is told each time`, async () => {
    hurry();
    const connectedMs: number[] = [];
    server.on("connection", () => connectedMs.push(performance.now()));
    handlers["join"] = (_payload, reply, socket) => (connectedMs.length < 4 ? lose(socket) : reply(joinAck(held)));
    try {
      await connect();
    } finally {
      mock.restoreAll();
    }
    const waitsMs = connectedMs.slice(1).map((ms, row) => ms - (connectedMs[row] as number));
    assert.equal(waitsMs.length, 3);
    [100, 200, 400].forEach((leastMs, row) => assert.ok((waitsMs[row] as number) >= leastMs - 1, String(waitsMs)));
  });
}

test("the round trip that is told is without what the server took", async () => {
  const told = deferred<number>();
  handlers["clock"] = ({ t0, rtt_ms: rttMs }, reply) => {
    if (typeof rttMs === "number") told.resolve(rttMs);
    const arrived = performance.now();
    setTimeout(() => reply({ ok: true, t0, t1: arrived, t2: performance.now() }), 1_000);
  };
  await connect();
  assert.ok((await told.promise) < 800);
});

for (const event of ["progress", "clock"]) {
  test(`a line on which no ${event} is answered any more is made anew`, async () => {
    const clocks = (): number => received.filter((one) => one.event === "clock").length;
    const [quiet, left, again] = [deferred<void>(), deferred<string>(), deferred<void>()];
    const tellTime = handlers["clock"] as Handler;
    handlers["clock"] = (...asked) => {
      tellTime(...asked);
      if (clocks() >= SAMPLES_MAX) quiet.resolve();
    };
    let lines = 0;
    server.on("connection", (socket) => {
      lines += 1;
      socket.on("disconnect", left.resolve);
      if (lines === 2) again.resolve();
    });
    hurry();
    try {
      const { line } = await connect();
      await quiet.promise;
      if (event === "clock") handlers["clock"] = () => undefined;
      if (event === "clock") line.resync();
      else void line.report({});
      assert.equal(await left.promise, "client namespace disconnect", "not only once its pings are missed");
      await again.promise;
    } finally {
      mock.restoreAll();
    }
  });
}
