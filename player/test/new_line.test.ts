/** What is said on a new line before it counts as ready, against a real Socket.IO server in this process. */

import assert from "node:assert/strict";
import { test } from "node:test";

import type { StateAck } from "../src/wire.ts";
import { commandsReceived, connect, connection, deferred, handlers, held, joinAck, server } from "./line_server.ts";
import { aState, NOW_MS } from "./states.ts";

test("what is told upon the first snapshot of a line comes before presses and reports, and gives the snapshot to take", async () => {
  const asked: number[] = [];
  handlers["offline"] = (_payload, reply) => reply({ ok: true, state: aState({ revision: 7 }), server_time: NOW_MS });
  handlers["pause"] = (_payload, reply) => reply({ ok: true, state: aState({ revision: 8 }), server_time: NOW_MS });
  const { line, snapshots } = await connect({
    catchUp: (ack, ask) => {
      if (asked.push(ack.state?.revision ?? 0) === 1) return null;
      return ask<StateAck>("offline", {}).then((told) => (told?.ok ? { ...ack, state: told.state } : null));
    },
    joined: () => void connection?.report({ position: 1 }),
  });
  server.disconnectSockets(true);
  await line.command("pause", {}, "press-1", held);
  assert.deepEqual(commandsReceived().map(({ event }) => event).slice(-3), ["offline", "progress", "pause"]);
  assert.deepEqual(snapshots.map(({ state }) => state?.revision), [1, 7]);
  const again = new Promise<void>((joined) => (handlers["join"] = (_payload, reply) => (reply(joinAck(held)), joined())));
  line.resync();
  await again;
  assert.equal(asked.length, 2, "a snapshot that is asked for later is no new line");
});

test("a line that is lost while it is told is made anew, and told then", async () => {
  const done = deferred<void>();
  let lines = 0;
  handlers["offline"] = (_payload, reply, socket) =>
    lines < 2 ? socket.disconnect(true) : reply({ ok: true, state: aState({ revision: 7 }), server_time: NOW_MS });
  const told: unknown[] = [];
  connect({
    catchUp: (ack, ask) => {
      lines += 1;
      return ask<StateAck>("offline", {}).then((answer) => (told.push(answer?.ok), answer?.ok ? ack : null));
    },
    joined: () => done.resolve(),
  }).catch(() => undefined);
  await done.promise;
  assert.deepEqual(told, [undefined, true]);
});

test("a script that is opened while another one is told is joined after that", async () => {
  const { snapshots } = await connect({
    catchUp: (ack) => {
      if (ack.state?.script_id !== "script-1") return null;
      return Promise.resolve().then(() => {
        handlers["join"] = (_payload, reply) => reply(joinAck(aState({ script_id: "script-2" })));
        connection?.join("script-2");
        return ack;
      });
    },
  });
  assert.deepEqual(snapshots.map(({ state }) => state?.script_id), ["script-2"]);
});
