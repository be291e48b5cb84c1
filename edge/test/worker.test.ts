/** The Worker before a real playhead server. A test asks for a fresh segment of its own; the next one, fetched ahead, is nobody's. */

import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer } from "node:http";
import { type AddressInfo, connect } from "node:net";
import { after, before, beforeEach, test } from "node:test";

import type { Miniflare } from "miniflare";

import { endWorker, Origin, Passage, startWorker } from "./support/edge.ts";

const PURGE_SECRET = "a secret of who may purge, for tests";
const purges: { path: string | undefined; authorization: string | undefined; body: string }[] = [];
/** What Cloudflare answers. */
let purged: [status: number, success: boolean] = [200, true];
let origin: Origin;
let passage: Passage;
let worker: Miniflare;
let edge: URL;

const cloudflare = createServer((request, response) => {
  let body = "";
  request.on("data", (chunk: Buffer) => (body += chunk.toString()));
  request.on("end", () => {
    purges.push({ path: request.url, authorization: request.headers.authorization, body });
    response.writeHead(purged[0], { "Content-Type": "application/json" });
    response.end(JSON.stringify({ success: purged[1], errors: [] }));
  });
});

before(async () => {
  origin = await Origin.start();
  passage = new Passage(origin.about.url);
  cloudflare.listen(0, "127.0.0.1");
  await once(cloudflare, "listening");
  ({ worker, url: edge } = await startWorker("worker", {
    ORIGIN_URL: await passage.open(),
    MEDIA_KEYS: JSON.stringify(origin.about.keys),
    PURGE_SECRET,
    CLOUDFLARE_ZONE_ID: "zone",
    CLOUDFLARE_API_TOKEN: "api token",
    CLOUDFLARE_API_URL: `http://127.0.0.1:${(cloudflare.address() as AddressInfo).port}`,
  }));
});

after(async () => {
  await endWorker(worker);
  await passage?.close();
  cloudflare.close();
  await origin?.stop();
});

beforeEach(() => {
  passage.asked.length = 0;
});

type Signed = keyof Origin["about"]["signed"];

function ask(tail: string, init: RequestInit = {}, signed: Signed = "good"): Promise<Response> {
  return fetch(new URL(origin.about.signed[signed] + tail, edge), init);
}

function fromOrigin(tail: string, init: RequestInit = {}, signed: Signed = "good"): Promise<Response> {
  return fetch(origin.about.url + origin.about.signed[signed] + tail, init);
}

async function bytes(answer: Response | Promise<Response>): Promise<Buffer> {
  return Buffer.from(await (await answer).arrayBuffer());
}

/** Asks for exactly this path: fetch would tidy it up. Answers the status line and the headers. */
async function rawly(path: string, host = edge.host): Promise<string> {
  const socket = connect(Number(edge.port), "127.0.0.1");
  socket.write(`GET ${path} HTTP/1.1\r\nHost: ${host}\r\n\r\n`);
  let text = "";
  for await (const chunk of socket) {
    text += String(chunk);
    if (text.includes("\r\n\r\n")) break;
  }
  socket.destroy();
  return text.split("\r\n\r\n")[0] ?? "";
}

test("everything that a player asks for is what the origin answers, byte for byte", async () => {
  const tails = ["master.m3u8", "grid.json"];
  for (const rung of ["low", "medium", "high"]) tails.push(`${rung}/index.m3u8`, `${rung}/init.mp4`, `${rung}/0.m4s`);
  for (const tail of tails) {
    for (const round of [1, 2]) {
      const [here, there] = [await ask(tail), await fromOrigin(tail)];
      assert.equal(here.status, 200, tail);
      for (const name of ["Content-Type", "Cache-Control", "Access-Control-Allow-Origin", "X-Content-Type-Options"]) {
        assert.equal(here.headers.get(name), there.headers.get(name), `${tail}: ${name}, round ${round}`);
      }
      assert.deepEqual(await bytes(here), await bytes(there), tail);
    }
  }
});

test("a second listener is served from the cache, under a token and a key of his own", async () => {
  const first = await ask("medium/4.m4s");
  assert.equal(first.headers.get("Cache-Status"), "playhead-edge; fwd=uri-miss; fwd-status=200; stored");
  assert.match(first.headers.get("Server-Timing") ?? "", /^token;dur=\d+, cache;dur=\d+, origin;dur=\d+, total;dur=\d+$/);
  const body = await bytes(first);
  for (const signed of ["good", "other", "second_key"] as const) {
    const again = await ask("medium/4.m4s", {}, signed);
    assert.equal(again.headers.get("Cache-Status"), "playhead-edge; hit");
    assert.deepEqual(await bytes(again), body);
    assert.equal(again.headers.get("ETag"), first.headers.get("ETag"));
    assert.equal(again.headers.get("Cache-Tag"), null);
  }
  assert.equal(passage.times("medium/4.m4s"), 1);
});

test("playlists cost the origin one small answer a script", async () => {
  await bytes(ask("master.m3u8"));
  passage.asked.length = 0;
  for (const tail of ["master.m3u8", "low/index.m3u8", "medium/index.m3u8", "high/index.m3u8"]) {
    const answer = await ask(tail, {}, "other");
    assert.match(answer.headers.get("Cache-Status") ?? "", /^playhead-edge; hit; detail="made here"$/);
    await bytes(answer);
  }
  assert.deepEqual(passage.asked.filter((line) => !line.endsWith(".m4s")), []);
  const again = await ask("master.m3u8");
  assert.match(again.headers.get("Server-Timing") ?? "", /^token;dur=\d+, total;dur=\d+$/, "not even the cache is asked");
});

test("of many who miss one segment at once, one goes to the origin", async () => {
  let open = (): void => undefined;
  passage.gate = new Promise((resolve) => (open = resolve));
  const asking = Array.from({ length: 20 }, (_, number) => ask("high/4.m4s", {}, number % 2 ? "good" : "other"));
  while (passage.times("high/4.m4s") === 0) await new Promise((resolve) => setImmediate(resolve));
  // so that the others are there as well, and wait
  await bytes(ask("low/init.mp4", { method: "OPTIONS" }));
  await new Promise((resolve) => setTimeout(resolve, 200));
  open();
  const answers = await Promise.all(asking);
  const expected = await bytes(fromOrigin("high/4.m4s"));
  for (const answer of answers) assert.deepEqual(await bytes(answer), expected);
  assert.equal(passage.times("high/4.m4s"), 1);
  const statuses = answers.map((answer) => answer.headers.get("Cache-Status")).sort();
  assert.equal(statuses.filter((status) => status?.endsWith("; collapsed")).length, 19, statuses.join("\n"));
});

test("who waits for a segment is served also when the one who fetches it goes away", async () => {
  let open = (): void => undefined;
  passage.gate = new Promise((resolve) => (open = resolve));
  const leaving = new AbortController();
  const gone = ask("high/8.m4s", { signal: leaving.signal }).catch(() => null);
  while (passage.times("high/8.m4s") === 0) await new Promise((resolve) => setImmediate(resolve));
  const waiting = ask("high/8.m4s", {}, "other");
  await new Promise((resolve) => setTimeout(resolve, 100));
  leaving.abort();
  await gone;
  open();
  assert.deepEqual(await bytes(waiting), await bytes(fromOrigin("high/8.m4s")));
});

test("of many who wait for a fetch that does not come, one fetches anew", async () => {
  const hasty = new Passage(origin.about.url);
  let open = (): void => undefined;
  hasty.gate = new Promise((resolve) => (open = resolve));
  const bindings = { ORIGIN_URL: await hasty.open(), MEDIA_KEYS: JSON.stringify(origin.about.keys) };
  const impatient = await startWorker("impatient", bindings);
  try {
    const url = new URL(`${origin.about.signed.good}low/0.m4s`, impatient.url);
    const asking = Array.from({ length: 12 }, () => fetch(url));
    while (hasty.asked.length < 2) await new Promise((resolve) => setTimeout(resolve, 10));
    await new Promise((resolve) => setTimeout(resolve, 100));
    assert.equal(hasty.asked.length, 2, "the first, and one of the eleven");
    open();
    const expected = await bytes(fromOrigin("low/0.m4s"));
    for (const answer of await Promise.all(asking)) assert.deepEqual(await bytes(answer), expected);
  } finally {
    await endWorker(impatient.worker);
    await hasty.close();
  }
});

test("ranges of segments, from the origin's whole answer and from the cache", async () => {
  const whole = await bytes(fromOrigin("low/4.m4s"));
  for (const [range, start, end] of [
    ["bytes=100-199", 100, 200],
    ["bytes=-50", whole.length - 50, whole.length],
    ["bytes=0-", 0, whole.length],
  ] as const) {
    const part = await ask("low/4.m4s", { headers: { Range: range } });
    assert.equal(part.status, 206);
    assert.equal(part.headers.get("Content-Range"), `bytes ${start}-${end - 1}/${whole.length}`);
    assert.equal(part.headers.get("Content-Length"), String(end - start));
    assert.deepEqual(await bytes(part), whole.subarray(start, end));
  }
  const past = await ask("low/4.m4s", { headers: { Range: `bytes=${whole.length}-` } });
  assert.deepEqual([past.status, past.headers.get("Content-Range")], [416, `bytes */${whole.length}`]);
  const { etag } = Object.fromEntries((await ask("low/4.m4s")).headers) as { etag: string };
  assert.equal((await ask("low/4.m4s", { headers: { Range: "bytes=0-1", "If-Range": etag } })).status, 206);
  assert.equal((await ask("low/4.m4s", { headers: { Range: "bytes=0-1", "If-Range": '"other"' } })).status, 200);
  assert.equal((await ask("low/4.m4s", { headers: { Range: "bytes=0-1,4-5" } })).status, 200);
  assert.equal(passage.times("low/4.m4s"), 1);
});

test("a copy that is still good is 304", async () => {
  for (const tail of ["master.m3u8", "low/index.m3u8", "low/init.mp4", "low/0.m4s"]) {
    const etag = (await ask(tail)).headers.get("ETag") ?? "";
    for (const known of [etag, `"x", W/${etag}`, "*"]) {
      const answer = await ask(tail, { headers: { "If-None-Match": known } });
      assert.deepEqual([answer.status, answer.headers.get("ETag")], [304, etag], tail);
    }
    assert.equal((await ask(tail, { headers: { "If-None-Match": '"other"' } })).status, 200);
  }
});

test("playlists are zipped for those who take it", async () => {
  const text = await bytes(fromOrigin("low/index.m3u8"));
  for (const [takes, coding] of [
    ["gzip", "gzip"],
    ["br;q=0.1, gzip;q=0.5", "gzip"],
    ["identity", null],
    ["gzip;q=0", null],
  ] as const) {
    const answer = await ask("low/index.m3u8", { headers: { "Accept-Encoding": takes } });
    assert.equal(answer.headers.get("Content-Encoding"), coding, takes);
    assert.equal(answer.headers.get("Vary"), "Accept-Encoding");
    assert.deepEqual(await bytes(answer), text);
  }
});

test("HEAD says what GET would without the body", async () => {
  for (const tail of ["master.m3u8", "low/init.mp4", "low/0.m4s"]) {
    const init = { headers: { "Accept-Encoding": "identity", Range: "bytes=0-1" } };
    const head = await ask(tail, { ...init, method: "HEAD" });
    const get = await ask(tail, { headers: { "Accept-Encoding": "identity" } });
    assert.equal(head.status, 200);
    for (const name of ["Content-Type", "ETag", "Cache-Control", "Content-Length"]) {
      assert.equal(head.headers.get(name), get.headers.get(name), `${tail}: ${name}`);
    }
    assert.equal((await bytes(head)).length, 0);
  }
});

test("players on other sites may ask, with ranges", async () => {
  const headers = { Origin: "https://elsewhere.example", "Access-Control-Request-Method": "GET" };
  const [here, there] = [
    await ask("low/0.m4s", { method: "OPTIONS", headers }),
    await fromOrigin("low/0.m4s", { method: "OPTIONS", headers }),
  ];
  assert.equal(here.status, 204);
  for (const name of ["Allow-Origin", "Allow-Methods", "Allow-Headers", "Max-Age"]) {
    const header = `Access-Control-${name}`;
    assert.equal(here.headers.get(header), there.headers.get(header), header);
  }
  assert.match((await ask("low/0.m4s")).headers.get("Access-Control-Expose-Headers") ?? "", /Cache-Status/);
});

test("refusals are the origin's own, byte for byte, and are not kept", async () => {
  const refused: [Signed, string, RequestInit, number][] = [
    ["expired", "low/0.m4s", {}, 403],
    ["good", "huge/0.m4s", {}, 404],
    ["good", "low/9999.m4s", {}, 404],
    ["unknown_script", "low/0.m4s", {}, 404],
    ["unknown_script", "master.m3u8", {}, 404],
    ["unknown_version", "low/index.m3u8", {}, 404],
    ["good", "low/0.m4s", { method: "DELETE" }, 405],
    ["good", "low/0.m4s", { method: "POST", body: "x" }, 405],
  ];
  for (const round of [1, 2]) {
    for (const [signed, tail, init, status] of refused) {
      const [here, there] = [await ask(tail, init, signed), await fromOrigin(tail, init, signed)];
      const what = `${signed} ${tail}, round ${round}`;
      assert.deepEqual([here.status, there.status], [status, status], what);
      for (const name of ["Content-Type", "Cache-Control", "Access-Control-Allow-Origin", "Allow"]) {
        assert.equal(here.headers.get(name), there.headers.get(name), `${what}: ${name}`);
      }
      assert.equal(await here.text(), await there.text(), what);
    }
  }
  const known = `/t/${origin.about.script_id}/${origin.about.media_version}/`;
  const unknown = passage.asked.filter((line) => !line.includes(known) || line.endsWith("/9999.m4s"));
  assert.equal(unknown.length, 8, `asked for again each time: ${unknown.join("\n")}`);
  for (const path of ["/", "/t/x", "/p/x/revoked", "/metrics", "/api/v1/audio/scripts", "/healthz"]) {
    assert.equal((await fetch(new URL(path, edge))).status, 404, path);
  }
});

test("no way of writing a path leads past the token's prefix, or to the origin", async () => {
  const { good, unknown_script: other } = origin.about.signed;
  const foreign = other.slice(other.indexOf("/t/"));
  const token = good.slice(0, good.indexOf("/t/"));
  for (const path of [
    `${token}${foreign}low/0.m4s`,
    `${good}../..${foreign.slice(2)}low/0.m4s`,
    `${good}low/%2e%2e/%2e%2e/%2e%2e${foreign.slice(2)}low/0.m4s`,
    `${good}low%2F0.m4s`,
    `${good}low/..%2f..%2fetc`,
    `${good}/low/0.m4s`,
    `${good}low/0.m4s%00`,
    `${token}x${good.slice(token.length)}low/0.m4s`,
    `/p/${"a".repeat(9_000)}${foreign}low/0.m4s`,
    `${good}..%5c..%5c..%5cp`,
  ]) {
    assert.match(await rawly(path), /^HTTP\/1\.1 40[034] /, path.slice(-60));
  }
  assert.deepEqual(passage.asked, []);
});

test("a query changes nothing, nor do capitals in the host's name", async () => {
  await bytes(ask("low/0.m4s"));
  assert.equal((await ask("low/0.m4s?x=/../y&token=z")).headers.get("Cache-Status"), "playhead-edge; hit");
  const { good } = origin.about.signed;
  assert.match(await rawly(`${good}low/0.m4s`, "MEDIA.Example.ORG"), /^HTTP\/1\.1 200 /);
});

test("the origin's 503 goes through with its Retry-After, and is not kept", async () => {
  const body = '{"code":"segment_not_ready"}';
  const headers = { "Content-Type": "application/problem+json", "Retry-After": "7", "Cache-Control": "public, max-age=60" };
  passage.refusal = { status: 503, headers, body };
  for (const _round of [1, 2]) {
    const answer = await ask("low/8.m4s");
    assert.deepEqual([answer.status, answer.headers.get("Retry-After")], [503, "7"]);
    assert.equal(answer.headers.get("Cache-Control"), "no-store");
    assert.equal(answer.headers.get("Cache-Status"), "playhead-edge; fwd=uri-miss; fwd-status=503");
    assert.equal(await answer.text(), body);
  }
  assert.equal(passage.times("low/8.m4s"), 2);
  passage.refusal = null;
  assert.deepEqual(await bytes(ask("low/8.m4s")), await bytes(fromOrigin("low/8.m4s")));
});

test("an origin that is away, or leads elsewhere, is 503 for what is not kept, and nothing for what is", async () => {
  await bytes(ask("low/0.m4s"));
  passage.away = true;
  const answer = await ask("medium/8.m4s");
  assert.deepEqual([answer.status, answer.headers.get("Retry-After")], [503, "1"]);
  assert.equal(((await answer.json()) as { code: string }).code, "unavailable");
  assert.equal((await ask("low/0.m4s")).status, 200);
  passage.away = false;
  passage.refusal = { status: 302, headers: { Location: "https://elsewhere.example/" }, body: "" };
  assert.equal((await ask("medium/8.m4s", { redirect: "manual" })).status, 503);
  passage.refusal = null;
  assert.equal((await ask("medium/8.m4s")).status, 200);
});

test("who has the secret purges a script by its tag", async () => {
  await bytes(ask("master.m3u8"));
  const body = JSON.stringify({ script_id: origin.about.script_id });
  const post = (authorization: string | null, content = body): Promise<Response> =>
    fetch(new URL("/purge", edge), {
      method: "POST",
      headers: authorization === null ? {} : { Authorization: authorization },
      body: content,
    });
  for (const wrong of [null, "", "Bearer ", "Bearer wrong", `Bearer ${PURGE_SECRET}x`, `Basic ${PURGE_SECRET}`]) {
    assert.equal((await post(wrong)).status, 401, String(wrong));
  }
  for (const wrong of ["", "{", "[]", "{}", '{"script_id": "*"}', '{"script_id": 3}', " ".repeat(2_000) + body]) {
    assert.equal((await post(`Bearer ${PURGE_SECRET}`, wrong)).status, 422, wrong.slice(0, 30));
  }
  assert.deepEqual(purges, []);
  assert.equal((await post(`Bearer ${PURGE_SECRET}`)).status, 204);
  const tags = [`script-${origin.about.script_id}`];
  assert.deepEqual(purges, [
    { path: "/zones/zone/purge_cache", authorization: "Bearer api token", body: JSON.stringify({ tags }) },
  ]);
  for (const answer of [[429, true], [200, false]] as [number, boolean][]) {
    purged = answer;
    assert.equal((await post(`Bearer ${PURGE_SECRET}`)).status, 503, String(answer));
  }
  assert.equal((await fetch(new URL("/purge", edge))).status, 404);
});

test("what is kept has the script's tag, under a key without a token", async () => {
  await bytes(ask("low/0.m4s"));
  const caches = await worker.getCaches();
  const { script_id: script, media_version: version } = origin.about;
  const kept = await caches.default.match(`https://${edge.host}/t/${script}/${version}/low/0.m4s`);
  assert.equal(kept?.headers.get("Cache-Tag"), `script-${script}`);
});

test("settings that are wrong are named in the log and nowhere else", async () => {
  const broken = await startWorker("worker", { ORIGIN_URL: "nonsense", MEDIA_KEYS: "secret", PURGE_SECRET: "short" });
  try {
    const answer = await fetch(new URL(`${origin.about.signed.good}low/0.m4s`, broken.url));
    const text = await answer.text();
    assert.equal(answer.status, 500);
    assert.doesNotMatch(text, /ORIGIN_URL|secret/);
  } finally {
    await endWorker(broken.worker);
  }
});

test("without a secret there is no purge", async () => {
  const plain = await startWorker("worker", { ORIGIN_URL: origin.about.url, MEDIA_KEYS: '{"a": "b"}' });
  try {
    const init = { method: "POST", headers: { Authorization: "Bearer " }, body: "{}" };
    assert.equal((await fetch(new URL("/purge", plain.url), init)).status, 404);
  } finally {
    await endWorker(plain.worker);
  }
});
