import { Cron } from 'croner';
import { errorMessage } from '@flotilla/kernel';

/** The moments of a cron expression in a time zone, milliseconds since the epoch. */
export interface CronTicks {
  /** The first tick after a moment; undefined: there is none any more. */
  next(afterMs: number): number | undefined;
  /** The last tick at or before a moment; undefined: there was none. */
  latest(atMs: number): number | undefined;
  /** How many ticks lie after the first moment and before the second, counted up to `COUNTED_TICKS`. */
  between(afterMs: number, beforeMs: number): number;
}

/** More missed ticks than this are not counted. */
export const COUNTED_TICKS = 1_000;

/**
 * Reads five fields (minute, hour, day of the month, month, day of the week), six with seconds in front, or `@daily`
 * and its like. A tick that a change of the clocks skips comes when the clocks have changed; one that comes twice
 * counts the first time; expressions with `*` for the hour go by what passes, not by what the clock shows. Throws an
 * `Error` that says what is wrong.
 */
export function cronTicks(expression: string, timeZone: string): CronTicks {
  // The library would also take a date, which is no schedule.
  if (!/^@\w+$|^\S+(?:\s+\S+){4,5}$/.test(expression.trim())) {
    throw new Error('expected five fields, six with seconds in front, or @hourly, @daily, @weekly, @monthly');
  }
  let cron: Cron;
  try {
    cron = new Cron(expression.trim(), { timezone: timeZone, paused: true });
    cron.nextRun(new Date(0));
  } catch (error) {
    throw new Error(errorMessage(error), { cause: error });
  }
  const next = (afterMs: number): number | undefined =>
    cron.nextRun(new Date(Math.floor(afterMs)))?.getTime();
  return {
    next,
    latest(atMs) {
      const second = Math.floor(atMs / 1_000) * 1_000;
      // A tick at this very moment counts; the library takes what lies before.
      const [tick] = cron.previousRuns(1, new Date(second + 1));
      return tick?.getTime();
    },
    between(afterMs, beforeMs) {
      let count = 0;
      for (
        let tick = next(afterMs);
        tick !== undefined && tick < beforeMs && count < COUNTED_TICKS;
        tick = next(tick)
      ) {
        count++;
      }
      return count;
    },
  };
}
