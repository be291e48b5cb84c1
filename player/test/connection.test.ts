/** The connection against a real Socket.IO server in this process; what it answers is written down per test. */

import assert from "node:assert/strict";
import { mock, test } from "node:test";

import { SAMPLES_MAX } from "../src/clock.ts";
import { localMs } from "../src/connection.ts";
import type { Status } from "../src/connection_events.ts";
import { Refusal } from "../src/refusal.ts";
import type { Preparation, WireError } from "../src/wire.ts";
import {
  AHEAD_MS,
  clock,
  commandsReceived,
  connect,
  connection,
  deferred,
  handlers,
  held,
  hold,
  http,
  joinAck,
  received,
  server,
  type Handler,
} from "./line_server.ts";
import { aState, NOW_MS } from "./states.ts";

test("the handshake tells who, on which device, in which protocol", async () => {
  const auth = deferred<object>();
  server.use((socket, next) => {
    auth.resolve(socket.handshake.auth);
    next();
  });
  await connect();
  assert.deepEqual(await auth.promise, {
    token: "secret",
    device: { id: "device-1", name: "Desk", kind: "browser" },
    protocol: 1,
  });
});

test("a refused token is told with the server's reason, and not tried again", async () => {
  const refused = deferred<WireError>();
  const statuses: Status[] = [];
  let attempts = 0;
  server.use((_socket, next) => {
    attempts += 1;
    const data = { code: "unauthorized", message: "Get a new one.", retry: false };
    next(Object.assign(new Error("unauthorized"), { data }));
  });
  void connect({ refused: refused.resolve, status: (status) => statuses.push(status) });
  assert.equal((await refused.promise).code, "unauthorized");
  assert.deepEqual([statuses, attempts], [["connecting", "refused"], 1]);
});

test("a server that ends the connection for good is not connected to again, and its reason is told", async () => {
  const refused = deferred<WireError>();
  const statuses: Status[] = [];
  let connections = 0;
  server.on("connection", () => (connections += 1));
  const expiring = deferred<number>();
  await connect({
    refused: refused.resolve,
    status: (status) => statuses.push(status),
    expiring: (event) => expiring.resolve(event.expires_at),
  });
  server.emit("expiring", { expires_at: NOW_MS });
  assert.equal(await expiring.promise, NOW_MS);
  server.emit("closing", { code: "token_expired", message: "Get a new one.", retry: false });
  server.disconnectSockets(false);
  assert.equal((await refused.promise).message, "Get a new one.");
  assert.deepEqual([statuses, connections], [["connecting", "connected", "refused"], 1]);
});

test("a server that ends the connection for a while is connected to again", async () => {
  const second = deferred<void>();
  const statuses: Status[] = [];
  let joins = 0;
  await connect({
    joined: () => ((joins += 1) === 2 ? second.resolve() : undefined),
    status: (status) => statuses.push(status),
  });
  server.emit("closing", { code: "flooding", message: "Send less.", retry: true, retry_after_ms: 1 });
  server.disconnectSockets(false);
  await second.promise;
  assert.deepEqual(statuses, ["connecting", "connected", "reconnecting", "connected"]);
});

test("a server that goes away is left in time, but not before it has answered what it was asked", async () => {
  const second = deferred<void>();
  let joins = 0;
  const { line } = await connect({ joined: () => ((joins += 1) === 2 ? second.resolve() : undefined) });
  handlers["pause"] = (_payload, reply, socket) => {
    socket.emit("draining", { retry_after_ms: 1 });
    // timers are kept in order: by then the time to go has come
    setTimeout(() => reply({ ok: true, state: aState({ revision: 2 }), server_time: NOW_MS }), 50);
  };
  assert.equal((await line.command("pause", {}, "press-1", held)).state?.revision, 2);
  await second.promise;
  assert.equal(commandsReceived().length, 1);
});

test("a server that goes away is left when it is time, though nothing is asked", async () => {
  const clocks = (): number => received.filter(({ event }) => event === "clock").length;
  const quiet = deferred<void>();
  const answer = handlers["clock"] as Handler;
  handlers["clock"] = (payload, reply, socket) => {
    answer(payload, reply, socket);
    if (clocks() === SAMPLES_MAX) quiet.resolve();
  };
  await connect();
  await quiet.promise;
  const again = deferred<number>();
  server.on("connection", () => again.resolve(clocks()));
  server.emit("draining", { retry_after_ms: 1 });
  assert.equal(await again.promise, SAMPLES_MAX, "nothing was asked in between");
});

test("a server that cannot vouch for what it sent is asked for a snapshot", async () => {
  const second = deferred<void>();
  let joins = 0;
  const { snapshots } = await connect({ joined: () => ((joins += 1) === 2 ? second.resolve() : undefined) });
  hold(aState({ revision: 9 }));
  server.emit("resync", { reason: "gap" });
  await second.promise;
  assert.deepEqual(snapshots.map(({ state }) => state?.revision), [aState().revision, 9]);
});

test("server time is known soon after the connection", async () => {
  const enough = deferred<void>();
  const answer = handlers["clock"] as Handler;
  const rtts: unknown[] = [];
  handlers["clock"] = (payload, reply, socket) => {
    answer(payload, reply, socket);
    if (rtts.push(payload["rtt_ms"]) === 3) enough.resolve();
  };
  await connect();
  await enough.promise;
  const local = performance.timeOrigin + performance.now();
  assert.ok(Math.abs(clock.serverMs(local) - local - AHEAD_MS) <= clock.uncertaintyMs(local) + 1);
  // Each tells how long the one before took; before the first nothing is known.
  assert.deepEqual(rtts.map((rtt) => typeof rtt), ["undefined", "number", "number"]);
});

test("server time is known before the first snapshot is taken", async () => {
  let samples = 0;
  await connect({ joined: () => (samples = clock.sampleCount) });
  assert.ok(samples > 0, "else an anchor seems to lie ahead where the computer's clock is behind");
});

test("after a lost line the device joins again and says what it has seen", async () => {
  const again = deferred<Record<string, unknown>>();
  await connect();
  hold(aState({ epoch: 3, revision: 9 }));
  handlers["join"] = (payload, reply) => {
    again.resolve(payload);
    reply(joinAck(held));
  };
  server.disconnectSockets(true);
  assert.deepEqual(await again.promise, { script_id: "script-1", seen: { epoch: 3, revision: 9 } });
});

test("what is reported upon a snapshot is sent, and before a press that waits", async () => {
  const paused = deferred<void>();
  handlers["pause"] = (_payload, reply) => {
    paused.resolve();
    reply({ ok: true, state: aState({ revision: 2 }), server_time: NOW_MS });
  };
  const { line } = await connect({ joined: () => void connection?.report({ position: 1 }) });
  received.length = 0;
  server.disconnectSockets(true);
  await Promise.all([line.command("pause", {}, "press-1", held), paused.promise]);
  assert.deepEqual(commandsReceived().map(({ event }) => event), ["progress", "pause"]);
});

test("a command is asked again where the refusal says so, under the same id", async () => {
  const { line } = await connect();
  let asked = 0;
  handlers["pause"] = (_payload, reply) => {
    asked += 1;
    if (asked === 1) reply({ ok: false, error: { code: "unavailable", message: "In a moment.", retry: true } });
    else reply({ ok: true, state: aState({ revision: 2 }), server_time: NOW_MS });
  };
  const ack = await line.command("pause", { session_id: "session-1" }, "press-1", held);
  assert.equal(ack.state?.revision, 2);
  assert.deepEqual(
    commandsReceived().map(({ payload }) => payload["command_id"]),
    ["press-1", "press-1"],
  );
});

test("a command is asked once where the refusal does not say retry", async () => {
  const { line } = await connect();
  handlers["seek"] = (_payload, reply) => reply({ ok: false, error: { code: "out_of_bounds", message: "No.", retry: false } });
  await assert.rejects(line.command("seek", { position: -1 }, "press-1", held), (error: Refusal) => {
    return error.code === "out_of_bounds" && error.message === "No.";
  });
  assert.equal(commandsReceived().length, 1);
});

test("what the server tells of a script that is prepared is passed on", async () => {
  const heard = deferred<Preparation>();
  await connect({ prepared: (event) => heard.resolve(event) });
  const told = { script_id: "script-1", status: "processing", progress: 0.25 };
  server.emit("prepare", told);
  assert.deepEqual(await heard.promise, told);
});

test("a press on a broken line waits for it to come back", async () => {
  const { line } = await connect();
  const down = new Promise<void>((gone) => server.sockets.sockets.forEach((socket) => socket.on("disconnect", () => gone())));
  server.disconnectSockets(true);
  await down;
  handlers["pause"] = (_payload, reply) => reply({ ok: true, state: aState({ revision: 2 }), server_time: NOW_MS });
  assert.equal((await line.command("pause", {}, "press-1", held)).state?.revision, 2);
});

test("a command whose ack got lost is sent again under its id, and the first answer is taken", async () => {
  const { line } = await connect();
  const base = held;
  handlers["pause"] = (payload, reply, socket) => {
    hold(aState({ revision: 5, cause: { command: "seek", device_id: "device-2", command_id: "another" } }));
    if (payload["expected_revision"] === undefined) socket.disconnect(true);
    else reply({ ok: true, state: aState({ revision: 2 }), server_time: NOW_MS });
  };
  assert.equal((await line.command("pause", {}, "press-1", base)).state?.revision, 2);
  assert.deepEqual(
    commandsReceived().map(({ payload }) => payload["command_id"]),
    ["press-1", "press-1"],
  );
});

test("after the answer to a repeat, which is the first one, the session is looked at again", async () => {
  const over = deferred<void>();
  const { line } = await connect({ joined: ({ state }) => (state ? undefined : over.resolve()) });
  handlers["pause"] = (_payload, reply, socket) => {
    if (commandsReceived().length === 1) return socket.disconnect(true);
    hold(null);
    reply({ ok: true, state: aState({ revision: 2 }), server_time: NOW_MS });
  };
  await line.command("pause", {}, "press-1", held);
  await over.promise;
});

test("a repeat in a new life of the store asks for the revision alone, as the epoch cannot be the same", async () => {
  const { line } = await connect();
  const [base, later] = [held, aState({ epoch: 2 })];
  handlers["pause"] = (_payload, reply, socket) => {
    if (commandsReceived().length > 1) return reply({ ok: true, state: aState({ revision: 2 }), server_time: NOW_MS });
    handlers["join"] = (_payload, answer) => (hold(later), answer(joinAck(later)));
    socket.disconnect(true);
  };
  await line.command("pause", {}, "press-1", base);
  assert.deepEqual(commandsReceived()[1]?.payload, { command_id: "press-1", expected_revision: 1 });
});

test("what was perhaps done before the store began another life is bound to the state it was pressed on", async () => {
  for (const epoch of [1, 2]) {
    const { line } = await connect();
    const base = held;
    received.length = 0;
    handlers["pause"] = (_payload, reply) => {
      if (commandsReceived().length > 1) return reply({ ok: true, state: aState({ revision: 2 }), server_time: NOW_MS });
      hold(aState({ epoch, revision: 1 }));
      reply({ ok: false, error: { code: "unavailable", message: "In a moment.", retry: true } });
    };
    await line.command("pause", {}, "press-1", base);
    const expected = commandsReceived().map(({ payload }) => payload["expected_revision"]);
    assert.deepEqual(expected, [undefined, epoch === 1 ? undefined : 1]);
    line.close();
    hold(aState());
  }
});

test("a command that never arrived is sent again, bound to the state it was pressed on", async () => {
  const { line } = await connect();
  handlers["pause"] = (payload, reply, socket) => {
    if (payload["expected_revision"] === undefined) socket.disconnect(true);
    else reply({ ok: true, state: aState({ revision: 2 }), server_time: NOW_MS });
  };
  await line.command("pause", {}, "press-1", held);
  assert.deepEqual(
    commandsReceived().map(({ payload }) => [payload["expected_revision"], payload["expected_epoch"]]),
    [[undefined, undefined], [1, 1]],
  );
});

test("a command that got lost while others moved on is given up with a reason", async () => {
  const { line } = await connect();
  const base = held;
  const moved = aState({ revision: 4, cause: { command: "seek", device_id: "device-2", command_id: "another" } });
  handlers["seek"] = (payload, reply, socket) => {
    hold(moved);
    if (payload["expected_revision"] === undefined) socket.disconnect(true);
    else reply({ ok: false, error: { code: "conflict", message: "Moved on.", retry: false, state: moved } });
  };
  await assert.rejects(line.command("seek", { position: 5 }, "press-1", base), (error: Refusal) => {
    return error.code === "connection_lost" && error.detail.state?.revision === 4;
  });
});

test("a server that takes no sockets for now is come back to when it has said, and not before", async () => {
  const listeners = { request: http.listeners("request")[0], upgrade: http.listeners("upgrade")[0] };
  const asked: number[] = [];
  const waitMs = 1_500;
  const refuse = (): boolean => asked.length === 1 && performance.now() - (asked[0] as number) < waitMs;
  http.removeAllListeners("request").removeAllListeners("upgrade");
  http.on("upgrade", (request, socket, head) => {
    asked.push(performance.now());
    if (refuse()) socket.end("HTTP/1.1 503 Service Unavailable\r\nRetry-After: 2\r\nConnection: close\r\n\r\n");
    else listeners.upgrade?.(request, socket, head);
  });
  http.on("request", (request, response) => {
    if (!refuse()) return listeners.request?.(request, response);
    response.writeHead(503, { "content-type": "application/json", "retry-after": "2" });
    response.end(JSON.stringify({ code: "overloaded", message: "Later.", retry: true, retry_after_ms: waitMs }));
  });
  await connect();
  assert.equal(asked.length, 2);
  assert.ok((asked[1] as number) - (asked[0] as number) >= waitMs);
});

test("a refused handshake is tried again when the server has said", async () => {
  const asked: number[] = [];
  const waitMs = 1_000;
  server.use((_socket, next) => {
    if (asked.push(performance.now()) > 1) return next();
    const data = { code: "overloaded", message: "Too many.", retry: true, retry_after_ms: waitMs };
    next(Object.assign(new Error("overloaded"), { data }));
  });
  await connect();
  assert.ok((asked[1] as number) - (asked[0] as number) >= waitMs);
});

test("a server that breaks the line itself is connected to again", async () => {
  const second = deferred<void>();
  let joins = 0;
  await connect({ joined: () => ((joins += 1) === 2 ? second.resolve() : undefined) });
  server.disconnectSockets(false);
  await second.promise;
});

test("a session that was begun while the join was asked is not lost to an answer that does not have it yet", async () => {
  hold(null);
  let joins = 0;
  handlers["join"] = (_payload, reply, socket) => {
    joins += 1;
    if (joins > 1) return reply(joinAck(aState()));
    socket.emit("state", aState());
    reply(joinAck(null));
  };
  const { snapshots } = await connect({ state: (state) => hold(state) });
  assert.deepEqual([joins, snapshots.map(({ state }) => state?.session_id)], [2, ["session-1"]]);
});

test("a session that a snapshot does not have, and of which nothing has come since, is over", async () => {
  handlers["join"] = (_payload, reply) => reply(joinAck(null));
  const { snapshots } = await connect();
  assert.deepEqual(snapshots.map(({ state }) => state), [null]);
});

test("a command that may have been done is not said to have changed nothing, when the line stays away", async () => {
  const { line } = await connect();
  const now = performance.now.bind(performance);
  handlers["seek"] = (_payload, _reply, socket) => {
    // nearly all of the time that a press waits has passed; what is left is shorter than a reconnect takes
    mock.method(performance, "now", () => now() + 14_900);
    socket.disconnect(true);
  };
  try {
    const sought = line.command("seek", { position: 5 }, "press-1", held);
    await assert.rejects(sought, (error: Refusal) => error.code === "connection_lost");
  } finally {
    mock.restoreAll();
  }
});

test("a press whose turn comes when nobody waits for it any more is not sent", async () => {
  const { line } = await connect();
  const pressed = line.command("pause", {}, "press-1", held, localMs() - 15_000);
  await assert.rejects(pressed, (error: Refusal) => error.code === "not_connected");
  assert.deepEqual(commandsReceived(), []);
});
