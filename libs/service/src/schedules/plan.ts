import { backoffDelayMs } from '@flotilla/kernel';
import type { ResolvedSchedule } from './schedule.options.ts';

/** A tick that nobody took within this time, in milliseconds, was missed. */
const MISSED_AFTER_MS = 60_000;

/** What is known of a schedule when it is looked at; moments in milliseconds since the epoch. */
export interface DueSchedule {
  /** The tick that was not run yet. */
  readonly dueAt: number | undefined;
  /** Runs of that tick that have failed, or died. */
  readonly attempts: number;
  /** When an operator asked for a run beside the ticks. */
  readonly requestedAt: number | undefined;
}

/** What is to be done now. */
export type RunPlan =
  | {
      readonly kind: 'run';
      readonly trigger: 'schedule' | 'manual';
      readonly tick: number;
      readonly attempt: number;
      /** Ticks that nobody took. */
      readonly missed: number;
    }
  | { readonly kind: 'skip'; readonly missed: number; readonly nextDue: number | undefined }
  | { readonly kind: 'rest' };

/** Decides about a schedule that is due: pure, so that what happens after a night off is a table of examples. */
export function planRun(due: DueSchedule, schedule: ResolvedSchedule, now: number): RunPlan {
  const { ticks, catchUp, catchUpWithinMs } = schedule;
  const { dueAt, attempts, requestedAt } = due;
  if (requestedAt !== undefined)
    return { kind: 'run', trigger: 'manual', tick: requestedAt, attempt: 1, missed: 0 };
  if (dueAt === undefined || dueAt > now) return { kind: 'rest' };
  // A later tick takes the place of one that was missed, or that goes on failing.
  const tick = Math.max(dueAt, ticks.latest(now) ?? dueAt);
  const sameTick = tick === dueAt;
  const left = sameTick ? 0 : 1 + ticks.between(dueAt, tick);
  const patienceMs = catchUp === 'latest' ? catchUpWithinMs : MISSED_AFTER_MS;
  // A tick that was begun is not missed, however long its attempts take.
  if (now - tick > patienceMs && !(sameTick && attempts > 0))
    return { kind: 'skip', missed: left + 1, nextDue: ticks.next(now) };
  return {
    kind: 'run',
    trigger: 'schedule',
    tick,
    attempt: sameTick ? attempts + 1 : 1,
    // What went on failing was not missed.
    missed: sameTick ? 0 : left - (attempts > 0 ? 1 : 0),
  };
}

/** What follows a failed run of a tick. */
export interface AfterFailure {
  readonly givenUp: boolean;
  readonly dueAt: number | undefined;
  readonly runAt: number | undefined;
  readonly attempts: number;
}

/** The same tick again, later each time, until it was tried often enough or the next one is there. */
export function afterFailure(
  tick: number,
  attempt: number,
  schedule: ResolvedSchedule,
  now: number,
  random?: () => number,
): AfterFailure {
  const next = schedule.ticks.next(Math.max(tick, now));
  if (attempt >= schedule.maxAttempts) return { givenUp: true, dueAt: next, runAt: next, attempts: 0 };
  const again = now + Math.max(1, backoffDelayMs(attempt, schedule.backoff, random));
  return { givenUp: false, dueAt: tick, runAt: Math.min(again, next ?? again), attempts: attempt };
}
