import { systemClock, type Clock } from '@flotilla/kernel';
import { atLeast, condense, parseLogLine } from './log-line.ts';

const QUIET_MS = 10_000;
const MAX_REMEMBERED = 200;

interface Seen {
  readonly sinceMs: number;
  repeated: number;
}

/**
 * Shows what a person should see of the services' logs: warnings and errors, one line each. A line that comes again
 * within 10 s is counted, and the count is shown with the next one.
 */
export class ConsoleFeed {
  readonly #show: (line: string) => void;
  readonly #clock: Clock;
  readonly #seen = new Map<string, Seen>();

  constructor(show: (line: string) => void, clock: Clock = systemClock) {
    this.#show = show;
    this.#clock = clock;
  }

  /** A line that the process of `instance` wrote. */
  line(instance: string, text: string): void {
    const parsed = parseLogLine(text);
    if (parsed !== undefined && !atLeast(parsed.level, 'warn')) return;
    const shown = `[${instance}] ${parsed === undefined ? text : condense(parsed)}`;
    const now = this.#clock.monotonicMs();
    // Ids differ from line to line; what happened is the same.
    const key = shown.replaceAll(/[0-9a-f]{8}-[0-9a-f-]{27}|\d+/g, '#');
    const seen = this.#seen.get(key);
    if (seen !== undefined && now - seen.sinceMs < QUIET_MS) {
      seen.repeated += 1;
      return;
    }
    // A stack trace comes in many lines: counts beside each would only confuse.
    const repeated = parsed === undefined ? 0 : (seen?.repeated ?? 0);
    this.#show(repeated === 0 ? shown : `${shown} (and ${repeated} more like it)`);
    this.#seen.delete(key);
    this.#seen.set(key, { sinceMs: now, repeated: 0 });
    if (this.#seen.size > MAX_REMEMBERED) {
      const oldest = this.#seen.keys().next().value;
      if (oldest !== undefined) this.#seen.delete(oldest);
    }
  }
}
