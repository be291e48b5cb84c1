/** The scripts that were loaded: the first page, which is asked for anew, and what was asked for beyond it. Pure. */

import type { Preparation, Script } from "./wire.ts";

export interface ScriptPage {
  readonly scripts: readonly Script[];
  readonly next_cursor: string | null;
}

export class ScriptList {
  scripts: readonly Script[] = [];
  /** Where to go on; null when nothing is beyond. */
  cursor: string | null = null;
  #beyond = false;

  find(scriptId: string): Script | undefined {
    return this.scripts.find((script) => script.script_id === scriptId);
  }

  /** The first page anew; what was loaded beyond it stays. */
  refresh(page: ScriptPage): void {
    if (this.#beyond) {
      const fresh = new Set(page.scripts.map((script) => script.script_id));
      this.scripts = [...page.scripts, ...this.scripts.filter((script) => !fresh.has(script.script_id))];
    } else {
      this.scripts = page.scripts;
      this.cursor = page.next_cursor;
    }
  }

  /** The page at the cursor. */
  append(page: ScriptPage): void {
    const held = new Set(this.scripts.map((script) => script.script_id));
    this.scripts = [...this.scripts, ...page.scripts.filter((script) => !held.has(script.script_id))];
    this.cursor = page.next_cursor;
    this.#beyond = true;
  }

  prepared({ script_id, status, progress }: Preparation): void {
    const further = (one: Script): Script => (one.script_id === script_id ? { ...one, status, progress } : one);
    this.scripts = this.scripts.map(further);
  }
}
