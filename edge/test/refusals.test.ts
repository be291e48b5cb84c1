/** A token that only the server refuses is answered as one that is forged is: by no byte, and no header, is it told from that. */

import assert from "node:assert/strict";
import { createHmac } from "node:crypto";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { type Server, createServer } from "node:http";
import type { AddressInfo } from "node:net";
import path from "node:path";
import { after, before, test } from "node:test";

import type { Miniflare } from "miniflare";

import { endWorker, startWorker } from "./support/edge.ts";

declare const VECTORS: string;

const KEY = "a media key for tests, the one that signs";
const PREFIX = "/t/33333333-3333-4333-8333-333333333333/0123456789abcdef/";
const { refusal } = JSON.parse(readFileSync(path.join(VECTORS, "media_tokens.json"), "utf8")) as { refusal: string };
/** Of a server of an earlier release, or of whatever stands before it. */
const OTHER_WORDS = JSON.stringify({ status: 403, code: "forbidden", detail: "The media token has expired." });
const NOTHING_REVOKED = JSON.stringify({ revoked: [], by_operator: [], next: 0, more: false });

let origin: Server;
let asked = 0;
let worker: Miniflare | undefined;
let edge: URL;

/** A server that refuses every token, as one does that has heard of an ending which the edge has not heard of. */
before(async () => {
  origin = createServer((request, response) => {
    if (/\/revoked\?/.test(request.url ?? "")) {
      response.writeHead(200, { "Content-Type": "application/json" }).end(NOTHING_REVOKED);
      return;
    }
    asked += 1;
    const headers = { "Content-Type": "application/problem+json", "Cache-Control": "no-store", "X-Of-The-Server": "1" };
    response.writeHead(403, headers).end(request.method === "HEAD" ? undefined : OTHER_WORDS);
  }).listen(0, "127.0.0.1");
  await once(origin, "listening");
  const ORIGIN_URL = `http://127.0.0.1:${(origin.address() as AddressInfo).port}`;
  ({ worker, url: edge } = await startWorker("worker", { ORIGIN_URL, MEDIA_KEYS: JSON.stringify({ new: KEY }) }));
});

after(async () => {
  await endWorker(worker);
  origin.closeAllConnections();
  origin.close();
});

function signed(secret: string): string {
  const claims = { v: 1, k: "new", p: PREFIX, e: Math.floor(Date.now() / 1_000) + 60 };
  const body = Buffer.from(JSON.stringify(claims)).toString("base64url");
  return `${body}.${createHmac("sha256", secret).update(body).digest("base64url")}`;
}

async function told(token: string, tail: string, method: string): Promise<object> {
  const answer = await fetch(new URL(`/p/${token}${PREFIX}${tail}`, edge), { method });
  const headers = [...answer.headers].filter(([name]) => name !== "date");
  return { status: answer.status, headers, body: await answer.text() };
}

for (const tail of ["master.m3u8", "low/index.m3u8", "low/init.mp4", "low/0.m4s", "grid.json"]) {
  test(`refused by the server alone, or forged: ${tail}`, async () => {
    for (const method of ["GET", "HEAD"]) {
      const before = asked;
      const good = await told(signed(KEY), tail, method);
      assert.ok(asked > before, "it was good here");
      const forged = await told(signed("a media key of somebody else, of good length"), tail, method);
      assert.deepEqual(good, forged, method);
      if (method === "GET") assert.equal((good as { body: string }).body, refusal);
    }
  });
}
