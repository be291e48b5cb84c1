/**
 * What the Worker takes from its origin, and what it does not: the ends of sessions, others' refusals, what is no media.
 * Every test that asks for a fresh segment asks for one of its own, and the one behind that is nobody's, as it is fetched ahead.
 */

import assert from "node:assert/strict";
import { after, before, beforeEach, test } from "node:test";

import type { Miniflare } from "miniflare";

import { endWorker, Origin, Passage, startWorker, until } from "./support/edge.ts";

let origin: Origin;
let passage: Passage;
let address: string;
/** Has hardly any patience, and looks every 200 ms for what was revoked. */
let worker: Miniflare;
let edge: URL;

before(async () => {
  origin = await Origin.start();
  passage = new Passage(origin.about.url);
  address = await passage.open();
  ({ worker, url: edge } = await startWorker("impatient", bindings(address)));
});

after(async () => {
  await endWorker(worker);
  await passage?.close();
  await origin?.stop();
});

beforeEach(() => {
  passage.asked.length = 0;
});

/** The origin does not know the first of the keys, as while keys are rotated. */
function bindings(url: string): Record<string, string> {
  const { keys, third_key: third } = origin.about;
  return { ORIGIN_URL: url, MEDIA_KEYS: JSON.stringify({ third, ...keys }) };
}

type Signed = keyof Origin["about"]["signed"];

function ask(tail: string, signed: Signed = "good", headers: Record<string, string> = {}): Promise<Response> {
  return fetch(new URL(origin.about.signed[signed] + tail, edge), { headers });
}

async function bytes(answer: Response | Promise<Response>): Promise<Buffer> {
  return Buffer.from(await (await answer).arrayBuffer());
}

function api(method: string, path: string, body?: object): Promise<Response> {
  const headers = { Authorization: `Bearer ${origin.about.listener_token}`, "Content-Type": "application/json" };
  const init = body === undefined ? { method, headers } : { method, headers, body: JSON.stringify(body) };
  return fetch(`${origin.about.url}/api/v1/audio${path}`, init);
}

/** A session of the listener: its id, and the path that its media lie below. */
async function play(): Promise<{ id: string; base: string }> {
  const answer = await api("POST", "/play", { script_id: origin.about.script_id });
  const { session_id: id, stream_url: url } = (await answer.json()) as { session_id: string; stream_url: string };
  return { id, base: new URL(url).pathname.replace(/master\.m3u8$/, "") };
}

async function status(base: string, tail: string, at: string | URL = edge): Promise<number> {
  const answer = await fetch(new URL(base + tail, at));
  await answer.arrayBuffer();
  return answer.status;
}

test("a session's address ends with it, in the origin's words, also for what is kept; no other address does", async () => {
  const session = await play();
  for (const tail of ["master.m3u8", "low/0.m4s"]) assert.equal(await status(session.base, tail), 200);
  await until("fetched ahead", () => passage.times("low/1.m4s") === 1);
  assert.equal((await api("DELETE", `/session/${session.id}`)).status, 200);
  await until("refused at the edge", async () => (await status(session.base, "low/0.m4s")) === 403);
  await until("refused at the origin", async () => (await status(session.base, "low/0.m4s", origin.about.url)) === 403);
  passage.asked.length = 0;
  for (const tail of ["master.m3u8", "low/index.m3u8", "low/0.m4s", "low/1.m4s"]) {
    const [here, there] = await Promise.all(
      [edge, origin.about.url].map((at) => fetch(new URL(session.base + tail, at))),
    );
    assert.deepEqual([here?.status, there?.status], [403, 403], tail);
    assert.equal(await here?.text(), await there?.text());
  }
  assert.deepEqual(passage.asked, [], "the origin is not asked for what is refused");
  const next = await play();
  assert.notEqual(next.id, session.id);
  assert.equal(await status(next.base, "low/0.m4s"), 200, "the listener's next session");
  for (const signed of ["good", "other"] as const) {
    const answer = await ask("low/0.m4s", signed);
    assert.equal(answer.headers.get("Cache-Status"), "playhead-edge; hit", "one key for everybody");
    await bytes(answer);
  }
});

test("an isolate that has just begun refuses what was revoked before it", async () => {
  const session = await play();
  await api("DELETE", `/session/${session.id}`);
  await until("refused at the origin", async () => (await status(session.base, "low/0.m4s", origin.about.url)) === 403);
  passage.asked.length = 0;
  const fresh = await startWorker("worker", bindings(address));
  try {
    const asking = Array.from({ length: 5 }, () => status(session.base, "low/0.m4s", fresh.url));
    assert.deepEqual(await Promise.all(asking), [403, 403, 403, 403, 403]);
    assert.deepEqual(passage.asked, []);
  } finally {
    await endWorker(fresh.worker);
  }
});

test("while nobody says what was revoked, what is known stays refused, and all else opens", async () => {
  const [ended, open] = [await play(), origin.about.signed.other];
  await api("DELETE", `/session/${ended.id}`);
  await until("refused at the edge", async () => (await status(ended.base, "low/0.m4s")) === 403);
  assert.equal(await status(open, "low/0.m4s"), 200);
  const later = await play();
  assert.equal(await status(later.base, "low/0.m4s"), 200);
  passage.away = true;
  const before = passage.revokedAsked;
  await until("asked in vain", async () => {
    assert.equal(await status(open, "low/0.m4s"), 200);
    return passage.revokedAsked > before + 1;
  });
  await api("DELETE", `/session/${later.id}`);
  assert.equal(await status(ended.base, "low/0.m4s"), 403);
  assert.equal(await status(open, "low/0.m4s"), 200);
  assert.equal(await status(later.base, "low/0.m4s"), 200, "nobody has heard of its end");
  passage.away = false;
  await until("heard of", async () => (await status(later.base, "low/0.m4s")) === 403);
});

test("an isolate whose origin takes for ever to say what was revoked goes on without", async () => {
  await bytes(ask("low/0.m4s"));
  // one of its own, as the other Worker goes on asking
  const silent = new Passage(origin.about.url);
  silent.silent = true;
  const fresh = await startWorker("worker", bindings(await silent.open()));
  try {
    assert.equal(await status(origin.about.signed.good, "low/0.m4s", fresh.url), 200);
    assert.equal(await status(origin.about.signed.good, "low/0.m4s", fresh.url), 200);
    assert.equal(silent.revokedAsked, 1);
  } finally {
    await endWorker(fresh.worker);
    await silent.close();
  }
});

test("a refusal is for the one who asked: those who waited with him are served", async () => {
  let open = (): void => undefined;
  passage.gate = new Promise((resolve) => (open = resolve));
  const refused = ask("medium/4.m4s", "third_key");
  await until("under way", () => passage.times("medium/4.m4s") === 1);
  const waiting = Array.from({ length: 10 }, () => ask("medium/4.m4s"));
  await new Promise((resolve) => setTimeout(resolve, 100));
  open();
  assert.equal((await refused).status, 403);
  for (const answer of await Promise.all(waiting)) assert.equal(answer.status, 200);
  assert.equal(passage.times("medium/4.m4s"), 2, "one of them went for all");
});

const NOT_READY = {
  status: 503,
  headers: { "Content-Type": "application/problem+json", "Retry-After": "1" },
  body: '{"code":"segment_not_ready"}',
};

/** Ten wait for what one has asked for, and is refused: what each gets, and how often the origin was asked. */
async function refusedFirst(tail: string, again: typeof NOT_READY | null): Promise<{ statuses: number[]; asked: number }> {
  let open = (): void => undefined;
  passage.gate = new Promise((resolve) => (open = resolve));
  passage.refusal = NOT_READY;
  const first = ask(tail, "other");
  await until("under way", () => passage.times(tail) === 1);
  passage.refusal = again;
  const waiting = Array.from({ length: 10 }, () => ask(tail));
  await new Promise((resolve) => setTimeout(resolve, 100));
  open();
  const statuses = (await Promise.all([first, ...waiting])).map((answer) => answer.status);
  passage.refusal = null;
  return { statuses, asked: passage.times(tail) };
}

test("of those who waited with one who cannot have it now, one asks once more, for all", async () => {
  const served = await refusedFirst("low/4.m4s", null);
  assert.deepEqual(served, { statuses: [503, ...Array<number>(10).fill(200)], asked: 2 });
  const refused = await refusedFirst("high/4.m4s", NOT_READY);
  assert.deepEqual(refused, { statuses: Array<number>(11).fill(503), asked: 2 });
});

test("a HEAD asks with HEAD, says what the origin says, and leaves nothing behind", async () => {
  const method = "HEAD";
  for (const tail of ["medium/0.m4s", "medium/init.mp4"]) {
    const address = origin.about.signed.good + tail;
    const headers = { "Accept-Encoding": "identity" };
    const [here, there] = await Promise.all(
      [edge, origin.about.url].map((at) => fetch(new URL(address, at), { method, headers })),
    );
    assert.deepEqual([here?.status, there?.status], [200, 200], tail);
    for (const name of ["Content-Type", "Content-Length", "ETag", "Cache-Control"]) {
      assert.equal(here?.headers.get(name), there?.headers.get(name), `${tail}: ${name}`);
    }
    assert.equal(here?.headers.get("Cache-Status"), "playhead-edge; fwd=uri-miss; fwd-status=200");
  }
  passage.refusal = NOT_READY;
  const notMade = await fetch(new URL(`${origin.about.signed.good}medium/0.m4s`, edge), { method });
  assert.deepEqual([notMade.status, notMade.headers.get("Retry-After"), await notMade.text()], [503, "1", ""]);
  passage.refusal = null;
  const asked = passage.asked.filter((line) => line.includes("/medium/"));
  assert.deepEqual(asked.map((line) => line.split(" ")[0]), Array<string>(3).fill(method));
  const kept = await ask("medium/0.m4s");
  assert.equal(kept.headers.get("Cache-Status"), "playhead-edge; fwd=uri-miss; fwd-status=200; stored");
  await bytes(kept);
  const again = await fetch(new URL(`${origin.about.signed.good}medium/0.m4s`, edge), { method });
  assert.equal(again.headers.get("Cache-Status"), "playhead-edge; hit");
});

test("a fetch goes on when the request that began it has its answer", async () => {
  let open = (): void => undefined;
  passage.gate = new Promise((resolve) => (open = resolve));
  const leaving = ask("medium/8.m4s", "good", { "X-Leave": "yes" });
  await until("under way", () => passage.times("medium/8.m4s") === 1);
  assert.equal((await fetch(new URL("/leave", edge))).status, 204);
  assert.equal((await leaving).status, 202);
  await new Promise((resolve) => setTimeout(resolve, 100));
  open();
  const kept = new URL(origin.about.signed.good.replace(/^\/p\/[^/]+/, "") + "medium/8.m4s", `https://${edge.host}`);
  const caches = await worker.getCaches();
  await until("kept", async () => (await caches.default.match(String(kept))) !== undefined, 100);
  assert.equal(passage.times("medium/8.m4s"), 1, "and it was fetched once");
});

test("what was fetched a moment ago answers also those who look before the cache has it, and nobody later", async () => {
  const stored = "playhead-edge; fwd=uri-miss; fwd-status=200; stored";
  const how = async (): Promise<string | null> => {
    const answer = await ask("medium/12.m4s");
    await bytes(answer);
    return answer.headers.get("Cache-Status");
  };
  assert.equal(await how(), stored);
  const kept = new URL(origin.about.signed.good.replace(/^\/p\/[^/]+/, "") + "medium/12.m4s", `https://${edge.host}`);
  const caches = await worker.getCaches();
  await until("taken out", () => caches.default.delete(String(kept)));
  assert.equal(await how(), "playhead-edge; fwd=uri-miss; fwd-status=200; collapsed");
  assert.equal(passage.times("medium/12.m4s"), 1);
  await until("fetched anew", async () => (await how()) === stored, 100);
  assert.equal(passage.times("medium/12.m4s"), 2);
});

test("what somebody else answers with 200 in the origin's name is neither kept nor passed on", async () => {
  const good = { "Content-Type": "audio/mp4", "Cache-Control": "public, max-age=60", ETag: '"x"' };
  for (const [tail, signed, wrong] of [
    ["high/0.m4s", "good", { "Content-Type": "text/html" }],
    ["high/0.m4s", "good", { "Cache-Control": "private" }],
    ["high/0.m4s", "good", { "Content-Type": "application/json" }],
    ["grid.json", "unknown_version", {}],
    ["master.m3u8", "unknown_version", {}],
  ] as const) {
    passage.refusal = { status: 200, headers: { ...good, ...wrong }, body: "<h1>Maintenance</h1>" };
    const answer = await ask(tail, signed);
    assert.equal(answer.status, 503, JSON.stringify([tail, wrong]));
    await bytes(answer);
  }
  passage.refusal = { status: 200, headers: good, body: "" };
  for (const method of ["GET", "HEAD"]) {
    const answer = await ask("high/0.m4s", "good", { method });
    assert.equal(answer.status, 503, `nothing at all, by ${method}`);
    await bytes(answer);
  }
  passage.refusal = null;
  const there = await fetch(`${origin.about.url}${origin.about.signed.good}high/0.m4s`);
  assert.deepEqual(await bytes(ask("high/0.m4s")), await bytes(there));
  assert.equal((await ask("master.m3u8", "unknown_version")).status, 404);
});
