import type { Clock, TimerHandle } from '@flotilla/kernel';

interface Waiter {
  /** Milliseconds since the epoch; infinite for one that waits as long as it takes. */
  readonly deadline: number;
  readonly enter: () => void;
  readonly leave: (reason: Error) => void;
}

export interface BulkheadDependencies {
  readonly clock: Clock;
  /** What a wait rejects with at its deadline. */
  readonly late: () => Error;
}

/**
 * Places for calls that run at the same time, and a line of those that wait, first come first served. Unlike
 * cockatiel's, one who leaves the line leaves its place in it too: a line full of callers that gave up refuses nobody.
 * One timer watches all deadlines: under load every call stands in line, and a timer each is most of what that costs.
 */
export class Bulkhead {
  readonly maxConcurrent: number;
  readonly queue: number;
  readonly #clock: Clock;
  readonly #late: () => Error;
  readonly #line: Waiter[] = [];
  #running = 0;
  #timer: TimerHandle | undefined;
  /** When the timer fires: not later than the earliest deadline in the line. */
  #timerAt = Infinity;

  constructor(
    { maxConcurrent, queue }: { readonly maxConcurrent: number; readonly queue: number },
    { clock, late }: BulkheadDependencies,
  ) {
    this.maxConcurrent = maxConcurrent;
    this.queue = queue;
    this.#clock = clock;
    this.#late = late;
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
   * Waits for a place, until the deadline (milliseconds since the epoch) at most; `standing` gets the way to leave the
   * line, which then rejects with the given reason. Check {@link full} before.
   */
  wait(deadline = Infinity, standing?: (leave: (reason: Error) => void) => void): Promise<void> {
    return new Promise((enter, leave) => {
      const waiter = { deadline, enter, leave };
      this.#line.push(waiter);
      if (deadline < this.#timerAt) this.#watch(deadline);
      standing?.((reason) => {
        if (this.#remove(waiter)) leave(reason);
      });
    });
  }

  /** Gives a place back, to the first in line. */
  leave(): void {
    const next = this.#line.shift();
    if (next === undefined) {
      this.#running -= 1;
      return;
    }
    next.enter();
    if (this.#line.length === 0) this.#watch(Infinity);
  }

  #remove(waiter: Waiter): boolean {
    const at = this.#line.indexOf(waiter);
    if (at === -1) return false;
    this.#line.splice(at, 1);
    if (this.#line.length === 0) this.#watch(Infinity);
    return true;
  }

  #watch(at: number): void {
    this.#timer?.cancel();
    this.#timerAt = at;
    this.#timer =
      at === Infinity ? undefined : this.#clock.after(Math.max(1, at - this.#clock.now()), this.#onTimer);
  }

  readonly #onTimer = (): void => {
    const now = this.#clock.now();
    let earliest = Infinity;
    for (const waiter of [...this.#line]) {
      if (waiter.deadline > now) earliest = Math.min(earliest, waiter.deadline);
      else if (this.#remove(waiter)) waiter.leave(this.#late());
    }
    this.#watch(earliest);
  };
}
