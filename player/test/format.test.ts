import assert from "node:assert/strict";
import { test } from "node:test";

import { formatFine, formatLeft, formatRate, formatShare, formatTime, spokenTime } from "../src/format.ts";
import { guessedKind, guessedName, parseFragment } from "../src/identity.ts";

test("times are read as on a clock, with hours only where there are any", () => {
  assert.deepEqual([0, 999, 61_000, 599_999, 3_723_000].map(formatTime), ["0:00", "0:00", "1:01", "9:59", "1:02:03"]);
  assert.equal(formatFine(75_399), "1:15.3");
  assert.equal(formatTime(-5), "0:00");
});

test("a screen reader hears words", () => {
  assert.equal(spokenTime(0), "0 seconds");
  assert.equal(spokenTime(61_000), "1 minute 1 second");
  assert.equal(spokenTime(7_200_000), "2 hours");
});

test("rates have no needless digits", () => {
  assert.deepEqual([1, 1.25, 0.5].map(formatRate), ["1×", "1.25×", "0.5×"]);
});

test("what is left of a time is rounded up, in minutes as long as there is one", () => {
  assert.deepEqual(
    [900_000, 840_001, 60_000, 59_001, 59_000, 1, -5].map(formatLeft),
    ["15 min left", "15 min left", "1 min left", "1 min left", "59 s left", "1 s left", "0 s left"],
  );
});

test("a share is whole only when all of it is there", () => {
  assert.deepEqual([0, 0.29, 0.426, 0.999, 1].map(formatShare), ["0 %", "29 %", "42 %", "99 %", "100 %"]);
});

test("an invitation in the address gives token, device and script, whatever is missing", () => {
  assert.deepEqual(parseFragment("#token=a.b.c&device=My%20phone&script=s1"), {
    token: "a.b.c",
    device: "My phone",
    script: "s1",
  });
  assert.deepEqual(parseFragment(""), { token: null, device: null, script: null });
});

test("a device that was given no name gets one that its owner recognises", () => {
  const phone = "Mozilla/5.0 (Linux; Android 15; Pixel 9) AppleWebKit/537.36 Chrome/140.0 Mobile Safari/537.36";
  const desk = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 Chrome/140.0 Safari/537.36";
  assert.deepEqual([guessedName(phone), guessedKind(phone)], ["Chrome on Android", "phone"]);
  assert.deepEqual([guessedName(desk), guessedKind(desk)], ["Chrome on Linux", "browser"]);
});
