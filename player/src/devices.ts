/** The listener's devices: which of them sound, a button on each other one to bring the sound there, one for all of them. */

import { byTestId, find, fromTemplate, setIcon, setText, showList } from "./dom.ts";
import type { Listening } from "./listening.ts";
import type { Device } from "./wire.ts";

export class Devices {
  readonly #listening: Listening;

  constructor(listening: Listening) {
    this.#listening = listening;
    byTestId("together").addEventListener("click", () => void listening.controls.setTogether(!listening.together));
  }

  update(): void {
    const toggle = byTestId<HTMLButtonElement>("together");
    toggle.disabled = this.#listening.state === null;
    toggle.setAttribute("aria-pressed", String(this.#listening.together));
    const here = this.#listening.deviceId;
    const devices = [...this.#listening.devices].sort((a, b) => rank(a, here) - rank(b, here) || a.name.localeCompare(b.name));
    showList(
      byTestId("devices"),
      devices,
      (device) => device.id,
      (device) => this.#make(device.id),
      (element, device) => this.#fill(element, device),
    );
  }

  #make(deviceId: string): HTMLElement {
    const element = fromTemplate("device-item");
    find("button", element).addEventListener("click", () => void this.#listening.soundOn(deviceId));
    return element;
  }

  #fill(element: HTMLElement, device: Device): void {
    const { state, deviceId, playing, script, together } = this.#listening;
    const here = device.id === deviceId;
    const active = together || state?.active_device === device.id;
    element.dataset["deviceId"] = device.id;
    element.dataset["active"] = String(active);
    element.dataset["sounding"] = String(active && playing);
    setIcon(element, iconOf(device.kind));
    setText(find(".name", element), here ? `${device.name} (this device)` : device.name);
    const button = find<HTMLButtonElement>("button", element);
    button.hidden = active || !script;
    setText(button, here ? "Play here" : "Play there");
    button.setAttribute("aria-label", here ? "Play here, on this device" : `Play on ${device.name}`);
  }
}

/** This device first, so that "Play here" is always at the same place. */
function rank(device: Device, here: string): number {
  return device.id === here ? 0 : 1;
}

function iconOf(kind: string): string {
  if (kind === "phone") return "phone";
  return kind === "speaker" ? "speaker" : "browser";
}
