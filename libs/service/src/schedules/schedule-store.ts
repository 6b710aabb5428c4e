import type { AfterFailure } from './plan.ts';

/** Runs a statement and returns its rows. */
export type Query = <R>(sql: string, parameters?: unknown[]) => Promise<R[]>;

/** A schedule as its row says. */
export interface ScheduleState {
  readonly name: string;
  readonly cron: string;
  readonly timeZone: string;
  /** The tick that is not done yet; undefined: none will come. */
  readonly dueAt: Date | undefined;
  /** When it is run: at its tick, or later when it failed. */
  readonly runAt: Date | undefined;
  /** Runs of that tick that failed. */
  readonly attempts: number;
  /** Until then it is believed that somebody runs it. */
  readonly leaseUntil: Date | undefined;
  readonly requestedAt: Date | undefined;
  readonly requestedBy: string | undefined;
  readonly lastTickAt: Date | undefined;
  readonly lastStartedAt: Date | undefined;
  readonly lastDurationMs: number | undefined;
  readonly lastSucceededAt: Date | undefined;
  readonly lastFailedAt: Date | undefined;
  /** Of the latest run, when it failed. */
  readonly lastError: string | undefined;
  readonly runs: number;
  readonly failures: number;
  /** Ticks that nobody was there for, or that came while an earlier one still ran. */
  readonly missed: number;
}

/** A run that has been claimed. */
export interface Claim {
  readonly name: string;
  readonly trigger: 'schedule' | 'manual';
  readonly tick: number;
  readonly attempt: number;
  readonly missed: number;
  readonly startedAt: number;
  readonly owner: string;
}

interface ScheduleRow {
  readonly name: string;
  readonly cron: string;
  readonly time_zone: string;
  readonly due_at: Date | null;
  readonly run_at: Date | null;
  readonly attempts: number;
  readonly lease_until: Date | null;
  readonly requested_at: Date | null;
  readonly requested_by: string | null;
  readonly last_tick_at: Date | null;
  readonly last_started_at: Date | null;
  readonly last_duration_ms: number | null;
  readonly last_succeeded_at: Date | null;
  readonly last_failed_at: Date | null;
  readonly last_error: string | null;
  readonly runs: string;
  readonly failures: string;
  readonly missed: string;
}

const MAX_ERROR_CHARS = 2_000;

/** Whether the latest run that ended has failed. */
export function isFailing({ lastFailedAt, lastSucceededAt }: ScheduleState): boolean {
  return lastFailedAt !== undefined && (lastSucceededAt === undefined || lastFailedAt > lastSucceededAt);
}

/** The rows of the schedules. Free of Nest, so that the `fleet` command reads them too. */
export class ScheduleStore {
  readonly #query: Query;

  constructor(query: Query) {
    this.#query = query;
  }

  async list(): Promise<ScheduleState[]> {
    return (await this.#query<ScheduleRow>('SELECT * FROM schedules ORDER BY name')).map(stateOf);
  }

  async read(name: string): Promise<ScheduleState | undefined> {
    const [row] = await this.#query<ScheduleRow>('SELECT * FROM schedules WHERE name = $1', [name]);
    return row && stateOf(row);
  }

  /** Adds a schedule, or lets it follow an expression that has changed; an unchanged one keeps its due tick. */
  async declare(name: string, cron: string, timeZone: string, firstDue: number): Promise<void> {
    await this.#query(
      `INSERT INTO schedules AS s (name, cron, time_zone, due_at, run_at) VALUES ($1, $2, $3, $4, $4)
       ON CONFLICT (name) DO UPDATE SET cron = $2, time_zone = $3, due_at = $4, run_at = $4, attempts = 0
        WHERE (s.cron, s.time_zone) IS DISTINCT FROM ($2, $3)`,
      [name, cron, timeZone, new Date(firstDue)],
    );
  }

  /**
   * The schedule if it is due and nobody runs it; its row is locked until the transaction ends. Whoever finds it
   * locked goes on without it.
   */
  async claim(name: string, now: number): Promise<ScheduleState | undefined> {
    const [row] = await this.#query<ScheduleRow>(
      `SELECT * FROM schedules
        WHERE name = $1 AND (run_at <= $2 OR requested_at IS NOT NULL)
          AND (lease_until IS NULL OR lease_until <= $2)
          FOR UPDATE SKIP LOCKED`,
      [name, new Date(now)],
    );
    return row && stateOf(row);
  }

  /** Leaves out what was missed. */
  async skip(name: string, missed: number, nextDue: number | undefined): Promise<void> {
    await this.#query(
      'UPDATE schedules SET missed = missed + $2, due_at = $3, run_at = $3, attempts = 0 WHERE name = $1',
      [name, missed, dateOf(nextDue)],
    );
  }

  /** Takes the lease of a run; it counts as an attempt from here on. */
  async lease(claim: Claim, until: number): Promise<void> {
    await this.#query(
      `UPDATE schedules
          SET lease_owner = $2, lease_until = $3, last_started_at = $4, last_tick_at = $5, missed = missed + $6,
              due_at = CASE WHEN $7 THEN due_at ELSE $5 END, run_at = CASE WHEN $7 THEN run_at ELSE $4 END,
              attempts = CASE WHEN $7 THEN attempts ELSE $8::integer END
        WHERE name = $1`,
      [
        claim.name,
        claim.owner,
        new Date(until),
        new Date(claim.startedAt),
        new Date(claim.tick),
        claim.missed,
        claim.trigger === 'manual',
        claim.attempt,
      ],
    );
  }

  /** Locks the row of a run until the transaction ends; false: somebody else has it. */
  async hold({ name, owner }: Claim): Promise<boolean> {
    const held = await this.#query(
      'SELECT name FROM schedules WHERE name = $1 AND lease_owner = $2 FOR UPDATE',
      [name, owner],
    );
    return held.length > 0;
  }

  /** False: somebody else has it. */
  async renew({ name, owner }: Claim, until: number): Promise<boolean> {
    const renewed = await this.#query(
      'UPDATE schedules SET lease_until = $3 WHERE name = $1 AND lease_owner = $2 RETURNING name',
      [name, owner, new Date(until)],
    );
    return renewed.length > 0;
  }

  /** Gives a run back that was not finished and did not fail: it is due again at once. False: somebody else has it. */
  async release({ name, owner, trigger, attempt }: Claim): Promise<boolean> {
    const released = await this.#query(
      `UPDATE schedules SET lease_owner = NULL, lease_until = NULL,
              attempts = CASE WHEN $3 THEN attempts ELSE greatest(0, $4::integer - 1) END
        WHERE name = $1 AND lease_owner = $2 RETURNING name`,
      [name, owner, trigger === 'manual', attempt],
    );
    return released.length > 0;
  }

  /** False: the lease was lost, and with it the right to say so. */
  async succeeded(claim: Claim, nextDue: number | undefined, now: number): Promise<boolean> {
    const next = { dueAt: nextDue, runAt: nextDue, attempts: 0 };
    return this.#ended(claim, 'runs = runs + 1, last_succeeded_at = $3, last_error = $4', null, next, now);
  }

  /** A manual run that fails is not tried again: whoever asked for it sees why. False as above. */
  async failed(
    claim: Claim,
    error: string,
    after: Omit<AfterFailure, 'givenUp'>,
    now: number,
  ): Promise<boolean> {
    const set = 'failures = failures + 1, last_failed_at = $3, last_error = $4';
    return this.#ended(claim, set, error.slice(0, MAX_ERROR_CHARS), after, now);
  }

  async #ended(
    { name, owner, startedAt, trigger }: Claim,
    set: string,
    error: string | null,
    { dueAt, runAt, attempts }: Omit<AfterFailure, 'givenUp'>,
    now: number,
  ): Promise<boolean> {
    // A run that an operator asked for leaves the ticks as they are.
    const ended = await this.#query(
      `UPDATE schedules
          SET ${set}, lease_owner = NULL, lease_until = NULL, last_duration_ms = $5,
              requested_at = CASE WHEN $6 THEN NULL ELSE requested_at END,
              requested_by = CASE WHEN $6 THEN NULL ELSE requested_by END,
              due_at = CASE WHEN $6 THEN due_at ELSE $7::timestamptz END,
              run_at = CASE WHEN $6 THEN run_at ELSE $8::timestamptz END,
              attempts = CASE WHEN $6 THEN attempts ELSE $9::integer END
        WHERE name = $1 AND lease_owner = $2 RETURNING name`,
      [
        name,
        owner,
        new Date(now),
        error,
        Math.max(0, now - startedAt),
        trigger === 'manual',
        dateOf(dueAt),
        dateOf(runAt),
        attempts,
      ],
    );
    return ended.length > 0;
  }

  /** Asks for a run now, beside the ticks; false: there is no such schedule. A second request adds nothing. */
  async request(name: string, by: string, now: number): Promise<boolean> {
    const changed = await this.#query(
      `UPDATE schedules SET requested_at = coalesce(requested_at, $2), requested_by = coalesce(requested_by, $3)
        WHERE name = $1 RETURNING name`,
      [name, new Date(now), by],
    );
    return changed.length > 0;
  }
}

function dateOf(ms: number | undefined): Date | null {
  return ms === undefined ? null : new Date(ms);
}

function stateOf(row: ScheduleRow): ScheduleState {
  return {
    name: row.name,
    cron: row.cron,
    timeZone: row.time_zone,
    dueAt: row.due_at ?? undefined,
    runAt: row.run_at ?? undefined,
    attempts: row.attempts,
    leaseUntil: row.lease_until ?? undefined,
    requestedAt: row.requested_at ?? undefined,
    requestedBy: row.requested_by ?? undefined,
    lastTickAt: row.last_tick_at ?? undefined,
    lastStartedAt: row.last_started_at ?? undefined,
    lastDurationMs: row.last_duration_ms ?? undefined,
    lastSucceededAt: row.last_succeeded_at ?? undefined,
    lastFailedAt: row.last_failed_at ?? undefined,
    lastError: row.last_error ?? undefined,
    runs: Number(row.runs),
    failures: Number(row.failures),
    missed: Number(row.missed),
  };
}
