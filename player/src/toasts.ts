/** Troubles, said once, in the server's own words, and gone after a while or at a press. */

import { byTestId, find, fromTemplate } from "./dom.ts";

const TOAST_MS = 8_000;
const TOASTS_MAX = 3;

export function clearProblems(): void {
  byTestId("toasts").replaceChildren();
}

/** Shows a trouble while somebody is signed in; before that, the form speaks for itself. */
export function showProblem(message: string): void {
  if (find("main.app").hidden) return;
  const list = byTestId("toasts");
  for (const shown of Array.from(list.children)) {
    if (find("span", shown).textContent === message) shown.remove();
  }
  const toast = fromTemplate("toast");
  find("span", toast).textContent = message;
  find("button", toast).addEventListener("click", () => toast.remove());
  list.append(toast);
  while (list.children.length > TOASTS_MAX) list.firstElementChild?.remove();
  setTimeout(() => toast.remove(), TOAST_MS);
}
