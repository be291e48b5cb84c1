/**
 * When an answer is overdue (docs/protocol.md, rule 3). The server answers the events of one line one after the other: who
 * waits behind a slow one is not on a dead line yet. Pure but for its timers.
 */

export const ACK_TIMEOUT_MS = 5_000;

export class AckWatch {
  /** Of every answer that is awaited: what gives it its time anew. */
  readonly #waiting = new Set<() => void>();

  /** The answer. Rejects when neither it nor another one has come for as long as one may take. */
  async within<Answer>(answer: Promise<Answer>): Promise<Answer> {
    let timer: ReturnType<typeof setTimeout> | undefined;
    let late = (): void => undefined;
    const overdue = new Promise<never>((_, reject) => (late = () => reject(new Error("No answer came."))));
    const begin = (): void => {
      clearTimeout(timer);
      timer = setTimeout(late, ACK_TIMEOUT_MS);
    };
    begin();
    this.#waiting.add(begin);
    try {
      const found = await Promise.race([answer, overdue]);
      for (const again of this.#waiting) again();
      return found;
    } finally {
      this.#waiting.delete(begin);
      clearTimeout(timer);
    }
  }
}
