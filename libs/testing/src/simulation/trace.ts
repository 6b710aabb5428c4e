/** One thing that happened. */
export interface TraceLine {
  /** Since the start, in milliseconds of simulated time. */
  readonly atMs: number;
  /** The simulated process, or what is not one: `broker`, `customer`. */
  readonly who: string;
  readonly what: string;
}

/**
 * What happened in a simulation, in order. Always a hash of it, because two runs of one seed must be the same to the
 * last line; the lines themselves only when somebody wants to read them.
 */
export class Trace {
  readonly #lines: TraceLine[] | undefined;
  #high = 0xcbf29ce4;
  #low = 0x84222325;
  #count = 0;

  constructor(options: { readonly keep: boolean }) {
    this.#lines = options.keep ? [] : undefined;
  }

  /** Whether lines are kept: what only a reader needs is not worth making otherwise. */
  get kept(): boolean {
    return this.#lines !== undefined;
  }

  get lines(): readonly TraceLine[] {
    return this.#lines ?? [];
  }

  get count(): number {
    return this.#count;
  }

  add(atMs: number, who: string, what: string): void {
    this.#count++;
    this.#mix(Math.round(atMs * 1_000) | 0);
    this.#mixText(who);
    this.#mixText(what);
    this.#lines?.push({ atMs, who, what });
  }

  /** A line for readers that is no part of the hash. */
  note(atMs: number, who: string, what: string): void {
    this.#lines?.push({ atMs, who, what });
  }

  get hash(): string {
    const word = (value: number): string => (value >>> 0).toString(16).padStart(8, '0');
    return word(this.#high) + word(this.#low);
  }

  #mixText(text: string): void {
    for (let at = 0; at < text.length; at++) this.#mix(text.charCodeAt(at));
    this.#mix(0);
  }

  #mix(value: number): void {
    this.#low = Math.imul(this.#low ^ value, 0x01000193);
    this.#high = Math.imul(this.#high ^ (value + (this.#low >>> 16)), 0x85ebca6b);
    this.#high ^= this.#high >>> 13;
  }
}

/** A line as people read it: `   12.345s  orders-1   commit`. */
export function formatTraceLine({ atMs, who, what }: TraceLine): string {
  return `${(atMs / 1_000).toFixed(4).padStart(11)}s  ${who.padEnd(12)} ${what}`;
}
