import assert from "node:assert/strict";
import { test } from "node:test";

import { sameMedia, StreamAddress } from "../src/media_urls.ts";

const address = (token: string, version = "0123", origin = "https://audio.example"): string =>
  `${origin}/p/${token}/t/5c1f/${version}/master.m3u8`;

test("two signatures of one script's media lead to the same media", () => {
  assert.ok(sameMedia(address("eyJ.one"), address("eyJ.two-longer_")));
});

test("another version, another host or another playlist is other media", () => {
  assert.ok(!sameMedia(address("eyJ.one"), address("eyJ.one", "4567")));
  assert.ok(!sameMedia(address("eyJ.one"), address("eyJ.one", "0123", "https://cdn.example")));
  assert.ok(!sameMedia(address("eyJ.one"), address("eyJ.one").replace("master", "low")));
});

test("what plays is not loaded again for a newer token, which is kept for later", () => {
  const stream = new StreamAddress();
  assert.ok(stream.take(address("one")));
  assert.ok(!stream.take(address("two")));
  assert.ok(!stream.take(address("three")));
  assert.equal(stream.url, address("one"));
  const newer = stream.refuse();
  assert.equal(newer, address("three"));
  assert.ok(stream.take(address("three")), "the same media, but what played is refused");
  assert.equal(stream.url, address("three"));
  assert.equal(stream.refuse(), null, "one that was refused is not offered again");
});

test("without a newer token another one must be asked for, and is then loaded", () => {
  const stream = new StreamAddress();
  stream.take(address("one"));
  assert.equal(stream.refuse(), null);
  assert.ok(stream.take(address("two")));
});

test("other media are loaded at once, and a kept token of those before is forgotten", () => {
  const stream = new StreamAddress();
  stream.take(address("one"));
  stream.take(address("two"));
  assert.ok(stream.take(address("one", "4567")));
  assert.equal(stream.refuse(), null);
  stream.clear();
  assert.equal(stream.url, null);
  assert.ok(stream.take(address("one", "4567")));
});
