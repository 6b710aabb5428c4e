import { errorMessage, type BackoffOptions } from '@flotilla/kernel';
import { cronTicks, type CronTicks } from './cron.ts';

/** When something is done again and again, once for the whole service however many replicas run. */
export interface ScheduleSpec {
  /**
   * Five fields (minute, hour, day of the month, month, day of the week), six with seconds in front, or `@daily` and its
   * like; or what a function makes of the configuration.
   */
  readonly cron: string | ((config: never) => string);
  /** An IANA name, for example `Europe/Berlin`; changes of the clocks are followed. Default `UTC`. */
  readonly timeZone?: string;
  /**
   * What becomes of a tick that no process was there for: `none` leaves it out (a minute late is not missed), `latest`
   * runs the latest one when somebody is there again. Default `none`.
   */
  readonly catchUp?: 'none' | 'latest';
  /** With `latest`: how late it may be, in milliseconds. Default 86,400,000 (a day). */
  readonly catchUpWithinMs?: number;
  /** Runs of one tick, at most; the next tick is due in any case. Default 10. */
  readonly maxAttempts?: number;
  /** Pauses between them. Default one second, doubling up to five minutes. */
  readonly backoff?: BackoffOptions;
  /**
   * How long after the death of its process a run is taken over, in milliseconds. Longer than a unit of work may take;
   * the lease of a handler outside of one is renewed while its process lives. Default 60,000.
   */
  readonly leaseMs?: number;
}

/** {@link ScheduleSpec} with every default filled in. */
export interface ResolvedSchedule {
  readonly name: string;
  readonly cron: string;
  readonly timeZone: string;
  readonly ticks: CronTicks;
  readonly catchUp: 'none' | 'latest';
  readonly catchUpWithinMs: number;
  readonly maxAttempts: number;
  readonly backoff: BackoffOptions;
  readonly leaseMs: number;
}

/** Defaults and checks; what is wrong is added to `problems`, and then there is no result. */
export function resolveSchedule(
  name: string,
  spec: ScheduleSpec,
  config: object,
  problems: string[],
): ResolvedSchedule | undefined {
  const wrong: string[] = [];
  const cron = typeof spec.cron === 'string' ? spec.cron : spec.cron(config as never);
  const timeZone = spec.timeZone ?? 'UTC';
  let ticks: CronTicks | undefined;
  try {
    ticks = cronTicks(cron, timeZone);
    if (ticks.next(0) === undefined) wrong.push(`"${cron}" never comes`);
  } catch (error) {
    wrong.push(`"${cron}" in ${timeZone} is not valid: ${errorMessage(error)}`);
  }
  if (!/^[a-z][a-z0-9-]*$/.test(name)) wrong.push('its name must be kebab-case');
  const numbers = {
    catchUpWithinMs: spec.catchUpWithinMs ?? 86_400_000,
    maxAttempts: spec.maxAttempts ?? 10,
    leaseMs: spec.leaseMs ?? 60_000,
  };
  for (const [option, value] of Object.entries(numbers)) {
    if (!Number.isInteger(value) || value < 1)
      wrong.push(`${option} is ${value}, expected a whole number of at least 1`);
  }
  problems.push(...wrong.map((each) => `schedule ${name}: ${each}`));
  if (wrong.length > 0 || ticks === undefined) return undefined;
  return {
    name,
    cron,
    timeZone,
    ticks,
    catchUp: spec.catchUp ?? 'none',
    ...numbers,
    backoff: spec.backoff ?? { initialMs: 1_000, maxMs: 300_000 },
  };
}
