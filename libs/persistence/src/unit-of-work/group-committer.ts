import { AsyncLocalStorage } from 'node:async_hooks';
import type { DataSource } from 'typeorm';
import type { Clock, TimerHandle } from '@flotilla/kernel';
import type { PersistenceLog } from '../log.ts';
import type { PersistenceMetrics } from '../metrics.ts';
import type { OutboxRow } from '../outbox/outbox-row.ts';
import {
  PersistenceClosedError,
  UnitOfWorkOverloadedError,
  UnitOfWorkTimedOutError,
} from '../persistence.errors.ts';
import { Lane } from './lane.ts';
import { SubmissionQueue, type Group } from './submission-queue.ts';
import type { Submission } from './submission.ts';
import type { UnitOfWorkLimits } from './unit-of-work.options.ts';

export interface GroupCommitterOptions {
  readonly dataSource: DataSource;
  /** Whose units of work these are. */
  readonly owner: object;
  readonly limits: Required<UnitOfWorkLimits>;
  readonly clock: Clock;
  readonly metrics: PersistenceMetrics;
  readonly log: PersistenceLog;
  /** Takes what was committed for publishing; false: nobody does in this process, leave it to a relay elsewhere. */
  readonly committed: ((rows: readonly OutboxRow[]) => void) | false;
}

interface Slot {
  readonly lane: Lane;
  busy: boolean;
  /** Since when the running work runs, or the lane has been idle. Monotonic. */
  sinceMs: number;
  /** Since when the running group runs. Monotonic. */
  groupSinceMs: number;
}

/** So many are worth a transaction of their own while another one runs: a commit is worth sharing. */
const WORTH_A_LANE = 8;
/** A group that runs for longer is no longer waited for, in milliseconds: something in it is slow. */
const PATIENCE_MS = 10;

const SWEEP_MS = 1_000;

/**
 * Commits units of work in groups: what waits at the same time shares transactions, because round trips and commits
 * are what costs. A unit that comes alone runs alone, at once.
 */
export class GroupCommitter {
  readonly #options: GroupCommitterOptions;
  readonly #queue = new SubmissionQueue();
  /** Groups run outside the async context of whoever happened to start them: they carry the work of many. */
  readonly #inOwnContext = AsyncLocalStorage.snapshot();
  readonly #slots: Slot[];
  #scheduled = false;
  #closed = false;
  #sweep: TimerHandle | undefined;
  #patience: TimerHandle | undefined;
  #whenIdle: (() => void)[] = [];

  constructor(options: GroupCommitterOptions) {
    this.#options = options;
    const { dataSource, owner, clock, committed } = options;
    this.#slots = Array.from({ length: options.limits.lanes }, () => ({
      lane: new Lane(dataSource, owner, { relay: () => committed === false, now: () => clock.now() }),
      busy: false,
      sinceMs: 0,
      groupSinceMs: 0,
    }));
  }

  submit(submission: Submission): void {
    if (this.#closed) {
      submission.reject(new PersistenceClosedError('The unit of work'));
      return;
    }
    if (this.#queue.size >= this.#options.limits.maxQueued) {
      submission.reject(new UnitOfWorkOverloadedError(this.#queue.size));
      return;
    }
    this.#queue.add(submission);
    this.#schedule();
  }

  /** Refuses new units, lets the others end within `withinMs`, cuts what is left, and returns all connections. */
  async close(withinMs: number): Promise<void> {
    this.#closed = true;
    const bound = this.#options.clock.after(withinMs, () => {
      const error = new PersistenceClosedError('The unit of work');
      for (const submission of this.#queue.drop()) submission.reject(error);
      for (const slot of this.#slots) if (slot.busy) slot.lane.abort(error);
    });
    if (!this.#idle) await new Promise<void>((resolve) => this.#whenIdle.push(resolve));
    bound.cancel();
    this.#sweep?.cancel();
    this.#patience?.cancel();
    await Promise.all(this.#slots.map(({ lane }) => lane.release()));
  }

  get #idle(): boolean {
    return this.#queue.size === 0 && this.#slots.every((slot) => !slot.busy);
  }

  /** Groups are formed once this turn of the event loop has brought all the work that it brings. */
  #schedule(): void {
    if (this.#scheduled) return;
    this.#scheduled = true;
    setImmediate(() => {
      this.#scheduled = false;
      this.#inOwnContext(() => this.#fill());
    });
  }

  #fill(): void {
    const { maxGroupSize } = this.#options.limits;
    const worthALane = Math.min(WORTH_A_LANE, maxGroupSize);
    for (let free = this.#freeSlots(); free.length > 0 && this.#queue.ready > 0; free = this.#freeSlots()) {
      if (this.#queue.size < worthALane && this.#soonFree()) return;
      const slot = free[0] as Slot;
      // Spread over the free lanes, but never in crumbs.
      const share = Math.max(Math.ceil(this.#queue.size / free.length), worthALane);
      const group = this.#queue.take(Math.min(share, maxGroupSize));
      if (group === undefined) return;
      slot.busy = true;
      void this.#run(slot, group);
    }
  }

  /** Whether a running group is expected to end soon; what waits for it is then looked at again, ended or not. */
  #soonFree(): boolean {
    const { clock } = this.#options;
    let longestMs: number | undefined;
    for (const slot of this.#slots) {
      if (slot.busy) longestMs = Math.max(longestMs ?? 0, clock.monotonicMs() - slot.groupSinceMs);
    }
    if (longestMs === undefined || longestMs >= PATIENCE_MS) return false;
    this.#patience ??= clock.after(PATIENCE_MS - longestMs, () => {
      this.#patience = undefined;
      this.#inOwnContext(() => this.#fill());
    });
    return true;
  }

  /** Those with a connection first. */
  #freeSlots(): Slot[] {
    const free = this.#slots.filter((slot) => !slot.busy);
    return free.sort((a, b) => Number(b.lane.hasConnection) - Number(a.lane.hasConnection));
  }

  async #run(slot: Slot, group: Group): Promise<void> {
    const { clock, metrics, committed, log } = this.#options;
    const startMs = clock.monotonicMs();
    slot.sinceMs = startMs;
    slot.groupSinceMs = startMs;
    this.#sweepLater();
    metrics.unitsWaiting?.(this.#queue.size);
    const result = await slot.lane.run(group, () => {
      slot.sinceMs = clock.monotonicMs();
    });
    slot.busy = false;
    slot.sinceMs = clock.monotonicMs();
    metrics.groupEnded?.({
      size: group.members.length,
      durationMs: slot.sinceMs - startMs,
      outcome: result.outcome,
    });
    if (result.outcome === 'committed') {
      if (committed !== false && result.rows.length > 0) committed(result.rows);
      for (const action of result.afterCommit) {
        try {
          action();
        } catch (error) {
          log.error(
            `An afterCommit action failed: ${String(error)}`,
            error instanceof Error ? error.stack : undefined,
          );
        }
      }
      result.answer();
    }
    if (result.outcome === 'failed') {
      if (result.again === false || this.#closed) {
        this.#queue.release(group);
        for (const submission of result.pending) submission.reject(result.error);
      } else {
        this.#queue.addAgain(result.pending, group, result.again);
      }
    } else {
      this.#queue.release(group);
    }
    if (this.#queue.ready > 0) this.#schedule();
    else if (this.#idle) for (const resolve of this.#whenIdle.splice(0)) resolve();
  }

  /** One timer for everything that takes too long, running only while there is something to watch. */
  #sweepLater(): void {
    this.#sweep ??= this.#options.clock.after(SWEEP_MS, () => {
      this.#sweep = undefined;
      const { workTimeoutMs, idleConnectionMs } = this.#options.limits;
      const nowMs = this.#options.clock.monotonicMs();
      for (const slot of this.#slots) {
        const ageMs = nowMs - slot.sinceMs;
        if (slot.busy && ageMs > workTimeoutMs) slot.lane.abort(new UnitOfWorkTimedOutError(workTimeoutMs));
        if (!slot.busy && slot.lane.hasConnection && ageMs > idleConnectionMs) void this.#release(slot);
      }
      if (this.#slots.some((slot) => slot.busy || slot.lane.hasConnection)) this.#sweepLater();
    });
  }

  async #release(slot: Slot): Promise<void> {
    try {
      await slot.lane.release();
    } catch (error) {
      this.#options.log.warn(`A connection could not be returned to the pool: ${String(error)}`);
    }
  }
}
