import {
  deterministicId,
  errorMessage,
  FlotillaError,
  newId,
  type Clock,
  type TimerHandle,
} from '@flotilla/kernel';
import { runWithContext, withSpan, type MetricsRecorder } from '@flotilla/observability';
import type { UnitOfWork } from '@flotilla/persistence';
import type { Logger } from '@nestjs/common';
import { isOutage } from '../inbound/outages.ts';
import { afterFailure, planRun, type RunPlan } from './plan.ts';
import type { ResolvedSchedule } from './schedule.options.ts';
import type { Claim, ScheduleState, ScheduleStore } from './schedule-store.ts';

/** One run of a schedule. */
export interface ScheduledRun {
  readonly schedule: string;
  /** The moment that the run is for, not when it happens; the same in every attempt. */
  readonly tick: Date;
  /** 1 at first. */
  readonly attempt: number;
  /** `manual`: an operator asked for it (`fleet schedule run`). */
  readonly trigger: 'schedule' | 'manual';
  /**
   * Aborts when the run is no longer this process's: the lease is lost, or the service stops. Only of a handler outside
   * a unit of work; it throws then, and what it has done stays done.
   */
  readonly signal: AbortSignal;
}

/** What a class with `@Schedule('name')` does. */
export interface ScheduledTask {
  run(run: ScheduledRun): Promise<void> | void;
}

export interface ScheduleRunnerParts {
  readonly service: string;
  readonly schedule: ResolvedSchedule;
  readonly task: ScheduledTask;
  readonly outsideUnitOfWork: boolean;
  readonly store: ScheduleStore;
  readonly unitOfWork: UnitOfWork;
  readonly clock: Clock;
  readonly metrics: MetricsRecorder;
  readonly logger: Logger;
}

/** Thrown into a run whose process may have been taken for dead: another one has it now, or will. */
class LeaseLostError extends FlotillaError {
  constructor(schedule: string) {
    super(
      'LEASE_LOST',
      `The lease of schedule ${schedule} could not be kept: another process has it, or will`,
    );
  }
}

/**
 * Runs one schedule in one process. The row in Postgres decides who runs a tick: a lease is taken first, so that a run
 * that ends its process is counted; then, in a unit of work, the claim is held while the handler runs, and its changes,
 * its messages and the end of the tick commit together. Outside of one the lease is renewed.
 */
export class ScheduleRunner {
  readonly #parts: ScheduleRunnerParts;
  readonly #stopping = new AbortController();

  constructor(parts: ScheduleRunnerParts) {
    this.#parts = parts;
  }

  get name(): string {
    return this.#parts.schedule.name;
  }

  /** Runs the tick that is due, if this process gets it; true: look again at once. */
  async runDue(): Promise<boolean> {
    const { unitOfWork, store, schedule, clock, outsideUnitOfWork } = this.#parts;
    const claim = await unitOfWork.run(async () => {
      const plan = await this.#plan();
      if (plan?.kind !== 'run') return plan?.kind;
      const { trigger, tick, attempt, missed } = plan;
      const startedAt = clock.now();
      const claimed = { name: this.name, trigger, tick, attempt, missed, startedAt, owner: newId() };
      await store.lease(claimed, startedAt + schedule.leaseMs);
      return claimed;
    });
    if (typeof claim !== 'object') return claim === 'skip';
    return outsideUnitOfWork ? this.#outside(claim) : this.#inside(claim);
  }

  /** How long until it is due, in milliseconds; undefined: never, as far as is known. */
  async dueInMs(): Promise<number | undefined> {
    const state = await this.#parts.store.read(this.name);
    if (!state) return undefined;
    const now = this.#parts.clock.now();
    if (state.requestedAt) return 0;
    return state.runAt && Math.max(0, state.runAt.getTime() - now);
  }

  /** Tells a run outside a unit of work to end. */
  stop(): void {
    this.#stopping.abort(new Error('the service stops'));
  }

  /** The claim is checked, the handler's changes and messages are made and the tick is done in one transaction. */
  async #inside(claim: Claim): Promise<boolean> {
    const { unitOfWork, store } = this.#parts;
    try {
      await unitOfWork.run(
        async () => {
          if (!(await store.hold(claim))) throw new LeaseLostError(this.name);
          // It commits with its claim or not at all: there is nothing to break off.
          await this.#handle(claim, new AbortController().signal);
          await this.#succeeded(claim);
        },
        { key: `schedule:${this.name}` },
      );
      return true;
    } catch (error) {
      if (isOutage(error)) {
        // Not its fault. Where this cannot be said either, the lease runs out.
        await unitOfWork.run(() => store.release(claim)).catch(() => undefined);
        throw error;
      }
      return this.#failed(claim, error);
    }
  }

  async #outside(claim: Claim): Promise<boolean> {
    const { unitOfWork, store, logger } = this.#parts;
    const lease = this.#keepLease(claim);
    try {
      await this.#handle(claim, lease.signal);
      lease.end();
      if (!(await unitOfWork.run(() => this.#succeeded(claim)))) {
        logger.error(
          `A run of schedule ${this.name} ended after its lease: another process has run the same tick`,
        );
      }
      return true;
    } catch (error) {
      lease.end();
      if (this.#stopping.signal.aborted) {
        // Not its fault: somebody else begins it again.
        await unitOfWork.run(() => store.release(claim));
        return false;
      }
      return this.#failed(claim, error);
    }
  }

  #succeeded(claim: Claim): Promise<boolean> {
    const { store, schedule, clock } = this.#parts;
    return store.succeeded(claim, schedule.ticks.next(claim.tick), clock.now());
  }

  /** In a unit of work: locks the row if it is due, and decides what to do. */
  async #plan(): Promise<RunPlan | undefined> {
    const { store, schedule, clock, logger } = this.#parts;
    const now = clock.now();
    const state = await store.claim(this.name, now);
    if (!state) return undefined;
    const plan = planRun(dueOf(state), schedule, now);
    if (plan.kind === 'skip') {
      logger.warn(
        `${plan.missed} tick(s) of schedule ${this.name} were missed and are left out (catchUp: ${schedule.catchUp})`,
      );
      await store.skip(this.name, plan.missed, plan.nextDue);
    }
    return plan;
  }

  /** One trace and one correlation for each tick, however often it is tried. */
  async #handle({ trigger, tick, attempt }: Claim, signal: AbortSignal): Promise<void> {
    const { service, task, clock, metrics } = this.#parts;
    const startedMs = clock.monotonicMs();
    const correlationId = deterministicId('schedule', service, this.name, tick, trigger);
    let outcome = 'failed';
    try {
      await runWithContext({ correlationId }, () =>
        withSpan(`schedule ${this.name}`, { parent: {} }, async () =>
          task.run({ schedule: this.name, tick: new Date(tick), attempt, trigger, signal }),
        ),
      );
      outcome = 'ok';
    } finally {
      metrics.handled('schedule', this.name, outcome, clock.monotonicMs() - startedMs);
    }
  }

  async #failed(claim: Claim, error: unknown): Promise<boolean> {
    const { unitOfWork, store, schedule, clock, logger } = this.#parts;
    const now = clock.now();
    const after = afterFailure(claim.tick, claim.attempt, schedule, now);
    const noted = await unitOfWork.run(() => store.failed(claim, errorMessage(error), after, now));
    const what = `Schedule ${this.name} failed at ${new Date(claim.tick).toISOString()}, attempt ${claim.attempt}`;
    const then =
      claim.trigger === 'manual'
        ? 'it was asked for by an operator and is not tried again'
        : !noted
          ? 'another process has it now'
          : after.givenUp
            ? 'it is given up until its next tick'
            : `it runs again at ${after.runAt === undefined ? 'no time' : new Date(after.runAt).toISOString()}`;
    logger.error({ msg: `${what}: ${errorMessage(error)}; ${then}`, err: error, schedule: this.name });
    return false;
  }

  /** Renews the lease of a run three times in its length; the signal aborts when it is lost or cannot be kept. */
  #keepLease(claim: Claim): { readonly signal: AbortSignal; end(): void } {
    const { unitOfWork, store, schedule, clock, logger } = this.#parts;
    const { leaseMs } = schedule;
    const lost = new AbortController();
    let until = clock.now() + leaseMs;
    let timer: TimerHandle | undefined;
    let ended = false;
    const renew = async (): Promise<void> => {
      const next = clock.now() + leaseMs;
      try {
        if (await unitOfWork.run(() => store.renew(claim, next))) until = next;
        else lost.abort(new LeaseLostError(this.name));
      } catch (error) {
        if (clock.now() >= until) lost.abort(new LeaseLostError(this.name));
        logger.warn(`The lease of schedule ${this.name} could not be renewed: ${errorMessage(error)}`);
      }
      if (!ended && !lost.signal.aborted) arm();
    };
    const arm = (): void => {
      timer = clock.after(leaseMs / 3, () => void renew());
    };
    arm();
    return {
      signal: AbortSignal.any([lost.signal, this.#stopping.signal]),
      end: () => {
        ended = true;
        timer?.cancel();
      },
    };
  }
}

function dueOf({ dueAt, attempts, requestedAt }: ScheduleState): Parameters<typeof planRun>[0] {
  return { dueAt: dueAt?.getTime(), attempts, requestedAt: requestedAt?.getTime() };
}
