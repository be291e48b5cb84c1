/**
 * A map that holds so many entries, of so much weight together, at most. It drops the one that was set or read longest ago.
 */
export class BoundedMap<Key, Value> {
  readonly #entries = new Map<Key, Value>();
  readonly #max: number;
  readonly #weightMax: number;
  readonly #weigh: (value: Value) => number;
  #weight = 0;

  constructor(max: number, weightMax = 0, weigh: (value: Value) => number = () => 0) {
    this.#max = max;
    this.#weightMax = weightMax;
    this.#weigh = weigh;
  }

  get(key: Key): Value | undefined {
    const value = this.#entries.get(key);
    if (value !== undefined) this.set(key, value);
    return value;
  }

  set(key: Key, value: Value): void {
    this.#delete(key);
    this.#entries.set(key, value);
    this.#weight += this.#weigh(value);
    while (this.#entries.size > this.#max || this.#weight > this.#weightMax) {
      this.#delete(this.#entries.keys().next().value as Key);
    }
  }

  deleteWhere(matches: (key: Key) => boolean): void {
    for (const key of [...this.#entries.keys()]) if (matches(key)) this.#delete(key);
  }

  #delete(key: Key): void {
    const value = this.#entries.get(key);
    if (value !== undefined) this.#weight -= this.#weigh(value);
    this.#entries.delete(key);
  }
}
