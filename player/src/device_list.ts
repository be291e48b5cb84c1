/** The listener's connected devices, as the latest list has them: one that comes late would show devices that are gone. Pure. */

import type { Device, DevicesTold } from "./wire.ts";

export class DeviceList {
  devices: readonly Device[] = [];
  #epoch = 0;
  #version = 0;

  /** Whether the list was a later one than that held. */
  take({ devices, devices_order: { epoch, version } }: DevicesTold): boolean {
    if (epoch < this.#epoch || (epoch === this.#epoch && version <= this.#version)) return false;
    this.devices = devices;
    this.#epoch = epoch;
    this.#version = version;
    return true;
  }
}
