import assert from "node:assert/strict";
import { test } from "node:test";

import { DeviceList } from "../src/device_list.ts";
import type { DevicesTold } from "../src/wire.ts";

function told(epoch: number, version: number, ...ids: string[]): DevicesTold {
  const devices = ids.map((id) => ({ id, name: id, kind: "phone", connected_at: 1 }));
  return { devices, devices_order: { epoch, version } };
}

test("a later list is taken, whatever life of the store it is of", () => {
  const list = new DeviceList();
  assert.ok(list.take(told(7, 5, "phone")));
  assert.ok(list.take(told(7, 6, "phone", "desk")));
  assert.ok(list.take(told(8, 1, "desk")));
  assert.deepEqual(list.devices.map(({ id }) => id), ["desk"]);
});

test("a list that comes late, or twice, is dropped", () => {
  const list = new DeviceList();
  list.take(told(7, 5, "phone"));
  for (const late of [told(7, 4, "gone"), told(7, 5, "gone"), told(6, 9, "gone")]) assert.ok(!list.take(late));
  assert.deepEqual(list.devices.map(({ id }) => id), ["phone"]);
});
