/** Cancels a timer made by {@link Clock.after}; calling it again, or after it fired, does nothing. */
export interface TimerHandle {
  cancel(): void;
}

/** Where time comes from. Injected, so that a test can be at any moment without waiting for it. */
export interface Clock {
  /** Milliseconds since the Unix epoch (wall time: may jump). */
  now(): number;
  /** Milliseconds from an arbitrary start, never going back: for measuring how long something took. */
  monotonicMs(): number;
  /** Runs `action` once after `delayMs`. Does not keep the process alive. */
  after(delayMs: number, action: () => void): TimerHandle;
  /** Resolves after `delayMs`, or at once when `signal` aborts (it never rejects). */
  sleep(delayMs: number, signal?: AbortSignal): Promise<void>;
}

let lastMs = NaN;
let lastText = '';

/** A time (milliseconds since the epoch) in ISO 8601. Made once where many ask within one millisecond. */
export function isoTime(ms: number): string {
  if (ms !== lastMs) {
    lastText = new Date(ms).toISOString();
    lastMs = ms;
  }
  return lastText;
}

/** The machine's own clock. */
export const systemClock: Clock = {
  now: () => Date.now(),
  monotonicMs: () => performance.now(),
  after(delayMs, action) {
    const timer = setTimeout(action, delayMs);
    timer.unref();
    return { cancel: () => clearTimeout(timer) };
  },
  sleep(delayMs, signal) {
    if (signal?.aborted) return Promise.resolve();
    return new Promise((resolve) => {
      const finish = (): void => {
        clearTimeout(timer);
        signal?.removeEventListener('abort', finish);
        resolve();
      };
      const timer = setTimeout(finish, delayMs);
      signal?.addEventListener('abort', finish, { once: true });
    });
  },
};
