import type { Clock } from '@flotilla/kernel';

/** Wakes one waiter; a wake-up that comes while nobody waits is kept for the next. */
export class Wake {
  #woken = false;
  #waiting: AbortController | undefined;

  now(): void {
    this.#woken = true;
    this.#waiting?.abort();
  }

  /** True when woken (also before the call), false when the time passed. */
  async within(timeoutMs: number, clock: Clock): Promise<boolean> {
    if (!this.#woken) {
      this.#waiting = new AbortController();
      await clock.sleep(timeoutMs, this.#waiting.signal);
      this.#waiting = undefined;
    }
    const woken = this.#woken;
    this.#woken = false;
    return woken;
  }
}
