/**
 * Places for calls that run at the same time, and a line of those that wait, first come first served. Unlike
 * cockatiel's, one who leaves the line leaves its place in it too: a line full of callers that gave up refuses nobody.
 */
export class Bulkhead {
  readonly maxConcurrent: number;
  readonly queue: number;
  readonly #line: (() => void)[] = [];
  #running = 0;

  constructor({ maxConcurrent, queue }: { readonly maxConcurrent: number; readonly queue: number }) {
    this.maxConcurrent = maxConcurrent;
    this.queue = queue;
  }

  get queued(): number {
    return this.#line.length;
  }

  /** Takes a place if one is free; then call {@link leave} once. */
  tryEnter(): boolean {
    if (this.#running >= this.maxConcurrent) return false;
    this.#running += 1;
    return true;
  }

  get full(): boolean {
    return this.#running >= this.maxConcurrent && this.#line.length >= this.queue;
  }

  /**
   * Waits for a place; `standing` gets the way to leave the line, which then rejects with the given reason. Check
   * {@link full} before. Resumes in the asynchronous context of the caller, not of the one that made room.
   */
  async wait(standing: (leave: (reason: Error) => void) => () => void): Promise<void> {
    let settled: (() => void) | undefined;
    try {
      await new Promise<void>((resolve, reject) => {
        this.#line.push(resolve);
        settled = standing((reason) => {
          const at = this.#line.indexOf(resolve);
          if (at === -1) return;
          this.#line.splice(at, 1);
          reject(reason);
        });
      });
    } finally {
      settled?.();
    }
  }

  /** Gives a place back, to the first in line. */
  leave(): void {
    const next = this.#line.shift();
    if (next === undefined) this.#running -= 1;
    else next();
  }
}
