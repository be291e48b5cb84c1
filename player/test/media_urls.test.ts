import assert from "node:assert/strict";
import { test } from "node:test";

import { sameMedia } from "../src/media_urls.ts";

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
