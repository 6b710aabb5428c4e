import type { Clock, TimerHandle } from '@flotilla/kernel';

interface Timer {
  readonly dueMs: number;
  readonly order: number;
  readonly action: () => void;
}

/**
 * A clock that stands still until the test moves it. `advance` runs what becomes due on the way, in order of
 * time, and lets the promises that this settles go on before it moves further.
 */
export class ManualClock implements Clock {
  readonly #timers = new Set<Timer>();
  #elapsedMs = 0;
  #wallMs: number;
  #order = 0;

  /** `start`: the wall time to begin at; default 2030-01-01T00:00:00Z, which no test takes for the real one. */
  constructor(start: Date | number | string = '2030-01-01T00:00:00Z') {
    this.#wallMs = new Date(start).getTime();
    if (Number.isNaN(this.#wallMs)) throw new RangeError(`"${String(start)}" is no date`);
  }

  now(): number {
    return this.#wallMs;
  }

  monotonicMs(): number {
    return this.#elapsedMs;
  }

  after(delayMs: number, action: () => void): TimerHandle {
    const timer: Timer = { dueMs: this.#elapsedMs + Math.max(0, delayMs), order: this.#order++, action };
    this.#timers.add(timer);
    return { cancel: () => this.#timers.delete(timer) };
  }

  sleep(delayMs: number, signal?: AbortSignal): Promise<void> {
    if (signal?.aborted === true) return Promise.resolve();
    return new Promise((resolve) => {
      const finish = (): void => {
        timer.cancel();
        signal?.removeEventListener('abort', finish);
        resolve();
      };
      const timer = this.after(delayMs, finish);
      signal?.addEventListener('abort', finish, { once: true });
    });
  }

  /** How many timers and sleeps wait. */
  get pending(): number {
    return this.#timers.size;
  }

  /** How long until the next timer or sleep is due; undefined when none waits. */
  get nextInMs(): number | undefined {
    const next = this.#next();
    return next === undefined ? undefined : next.dueMs - this.#elapsedMs;
  }

  /** Lets `durationMs` pass. Timers set on the way run too, if they become due within it. */
  async advance(durationMs: number): Promise<void> {
    if (!(durationMs >= 0)) throw new RangeError(`time cannot advance by ${durationMs} ms`);
    const end = this.#elapsedMs + durationMs;
    await settle();
    for (let next = this.#next(); next !== undefined && next.dueMs <= end; next = this.#next()) {
      this.#move(next.dueMs);
      this.#timers.delete(next);
      next.action();
      await settle();
    }
    this.#move(end);
  }

  /** Moves on to the next timer or sleep and runs it; throws when none waits. */
  async advanceToNext(): Promise<void> {
    await settle();
    const inMs = this.nextInMs;
    if (inMs === undefined) throw new RangeError('no timer waits on this clock');
    await this.advance(inMs);
  }

  /** Sets the wall time, as an operator or NTP would; timers and monotonic time take no notice. */
  jumpTo(wall: Date | number | string): void {
    const wallMs = new Date(wall).getTime();
    if (Number.isNaN(wallMs)) throw new RangeError(`"${String(wall)}" is no date`);
    this.#wallMs = wallMs;
  }

  #move(toMs: number): void {
    this.#wallMs += toMs - this.#elapsedMs;
    this.#elapsedMs = toMs;
  }

  #next(): Timer | undefined {
    let next: Timer | undefined;
    for (const timer of this.#timers) {
      if (
        next === undefined ||
        timer.dueMs < next.dueMs ||
        (timer.dueMs === next.dueMs && timer.order < next.order)
      ) {
        next = timer;
      }
    }
    return next;
  }
}

/** Until the promises that are settled now have run all that follows from them without input or output. */
function settle(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}
