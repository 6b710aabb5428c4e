import type { Clock } from '@flotilla/kernel';
import { noMetrics } from '@flotilla/observability';
import { createDataSource, migrate, UnitOfWork } from '@flotilla/persistence';
import { createTestDatabase, ManualClock, until, type TestDatabase } from '@flotilla/testing';
import { Logger } from '@nestjs/common';
import { Client } from 'pg';
import type { DataSource } from 'typeorm';
import { scheduleMigrations } from '../src/schedules/index.ts';
import { resolveSchedule, type ScheduleSpec } from '../src/schedules/schedule.options.ts';
import { ScheduleRunner, type ScheduledRun, type ScheduledTask } from '../src/schedules/schedule-runner.ts';
import { isFailing, ScheduleStore, type ScheduleState } from '../src/schedules/schedule-store.ts';

const START = '2030-01-01T00:00:30Z';
const MINUTE = 60_000;

class CreateTicks1700000000001 {
  readonly name = 'CreateTicks1700000000001';
  up(runner: { query(sql: string): Promise<unknown> }): Promise<unknown> {
    // No key: what ran twice shows.
    return runner.query('CREATE TABLE ticks (tick timestamptz, replica integer, attempt integer)');
  }
}

let database: TestDatabase;
const opened: { unitOfWork: UnitOfWork; dataSource: DataSource }[] = [];
beforeEach(async () => {
  database = await createTestDatabase({
    template: {
      name: 'schedules',
      migrate: async (url) =>
        void (await migrate({ url, migrations: [...scheduleMigrations, CreateTicks1700000000001] })),
    },
  });
});
afterEach(async () => {
  for (const { unitOfWork, dataSource } of opened.splice(0)) {
    await unitOfWork.close({ withinMs: 500 });
    if (dataSource.isInitialized) await dataSource.destroy();
  }
  await database.drop();
});

interface Replica {
  readonly runner: ScheduleRunner;
  readonly store: ScheduleStore;
  /** Notes a run in the unit of work of whoever calls. */
  note(run: ScheduledRun): Promise<void>;
  state(): Promise<ScheduleState>;
}

/** One process of a service: its own connections and runner. */
async function replica(
  clock: Clock,
  options: {
    readonly spec?: Partial<ScheduleSpec>;
    readonly outside?: boolean;
    readonly run?: (run: ScheduledRun, replica: Replica) => Promise<void>;
  } = {},
): Promise<Replica> {
  const number = opened.length;
  const log = new Logger('test');
  for (const level of ['log', 'warn', 'error'] as const) log[level] = () => undefined;
  const dataSource = await createDataSource({ url: database.url, poolSize: 4, entities: [] }).initialize();
  const unitOfWork = new UnitOfWork({ dataSource, log });
  opened.push({ unitOfWork, dataSource });
  const store = new ScheduleStore((sql, parameters) => unitOfWork.query(sql, parameters));
  const problems: string[] = [];
  const schedule = resolveSchedule('books', { cron: '* * * * *', ...options.spec }, {}, problems);
  if (!schedule) throw new Error(problems.join());
  const task: ScheduledTask = {
    run: (run) => (options.run ? options.run(run, made) : made.note(run)),
  };
  const made: Replica = {
    runner: new ScheduleRunner({
      service: 'test',
      schedule,
      task,
      outsideUnitOfWork: options.outside ?? false,
      store,
      unitOfWork,
      clock,
      metrics: noMetrics,
      logger: log,
    }),
    store,
    note: ({ tick, attempt }) =>
      unitOfWork.run(
        async () =>
          void (await unitOfWork.query('INSERT INTO ticks VALUES ($1, $2, $3)', [tick, number, attempt])),
      ),
    state: async () => (await store.read('books')) as ScheduleState,
  };
  await unitOfWork.run(() =>
    store.declare('books', schedule.cron, schedule.timeZone, schedule.ticks.next(clock.now()) ?? 0),
  );
  return made;
}

async function sql<R>(text: string): Promise<R[]> {
  const client = new Client({ connectionString: database.adminUrl });
  await client.connect();
  try {
    return (await client.query(text)).rows as R[];
  } finally {
    await client.end();
  }
}
const ticks = () =>
  sql<{ tick: Date; replica: number; attempt: number }>('SELECT * FROM ticks ORDER BY tick, attempt');
const allRun = async (replicas: readonly Replica[]): Promise<void> => {
  await Promise.all(
    replicas.map(async ({ runner }) => {
      while (await runner.runDue());
    }),
  );
};

describe.each([
  ['in a unit of work', false],
  ['outside a unit of work', true],
])('a schedule that runs %s', (_where, outside) => {
  it('runs each tick once, whichever of three replicas gets it', async () => {
    const clock = new ManualClock(START);
    const replicas = [
      await replica(clock, { outside }),
      await replica(clock, { outside }),
      await replica(clock, { outside }),
    ];
    for (let minute = 0; minute < 40; minute++) {
      await clock.advance(MINUTE);
      await allRun(replicas);
      await allRun(replicas);
    }
    const found = await ticks();
    expect(found.map(({ tick }) => tick.getTime())).toEqual(
      Array.from({ length: 40 }, (_, index) => Date.parse(START) + 30_000 + index * MINUTE),
    );
    expect(await replicas[0]?.state()).toMatchObject({ runs: 40, failures: 0, missed: 0, attempts: 0 });
  });

  it('does not overlap with itself: the tick that comes meanwhile waits, and is missed when it is too late', async () => {
    const clock = new ManualClock(START);
    let finish: () => void = () => undefined;
    const running = new Promise<void>((resolve) => (finish = resolve));
    let begun = 0;
    const spec = { leaseMs: 3_600_000 };
    const run = async (run: ScheduledRun, mine: Replica): Promise<void> => {
      begun++;
      if (begun === 1) await running;
      await mine.note(run);
    };
    const [one, two] = [
      await replica(clock, { outside, spec, run }),
      await replica(clock, { outside, spec, run }),
    ];
    await clock.advance(30_000);
    const first = one.runner.runDue();
    await until(() => begun === 1);
    await clock.advance(10 * MINUTE);
    expect([await two.runner.runDue(), begun]).toEqual([false, 1]);
    finish();
    expect(await first).toBe(true);
    await allRun([two]);
    expect((await ticks()).map(({ tick }) => tick.toISOString())).toEqual([
      '2030-01-01T00:01:00.000Z',
      '2030-01-01T00:11:00.000Z',
    ]);
    expect(await one.state()).toMatchObject({ runs: 2, missed: 9 });
  });

  it('that fails is undone, tried again later by whoever is there, and to be seen until it succeeds', async () => {
    const clock = new ManualClock(START);
    let failures = 2;
    const run = async (run: ScheduledRun, mine: Replica): Promise<void> => {
      if (!outside) await mine.note(run);
      if (failures-- > 0) throw new Error('the books are closed');
      if (outside) await mine.note(run);
    };
    const spec = { cron: '0 3 * * *', backoff: { initialMs: 1_000, maxMs: 1_000 } };
    const replicas = [
      await replica(clock, { outside, run, spec }),
      await replica(clock, { outside, run, spec }),
    ];
    const [one] = replicas as [Replica, Replica];
    clock.jumpTo('2030-01-01T03:00:00Z');
    await allRun(replicas);
    let state = await one.state();
    expect([isFailing(state), state.attempts, state.lastError]).toEqual([true, 1, 'the books are closed']);
    expect(state.runAt && state.runAt > new Date(clock.now())).toBe(true);
    for (let second = 0; second < 4; second++) {
      await clock.advance(1_000);
      await allRun(replicas);
    }
    expect(await ticks()).toEqual([
      { tick: new Date('2030-01-01T03:00:00Z'), replica: expect.any(Number) as number, attempt: 3 },
    ]);
    state = await one.state();
    expect([isFailing(state), state.runs, state.failures]).toEqual([false, 1, 2]);
    expect(state.dueAt?.toISOString()).toBe('2030-01-02T03:00:00.000Z');
  });

  it('catches up with the latest of what was missed, or leaves it out', async () => {
    const clock = new ManualClock(START);
    const catching = await replica(clock, { outside, spec: { cron: '0 * * * *', catchUp: 'latest' } });
    await clock.advance(30 * 60 * MINUTE);
    await allRun([catching]);
    expect((await ticks()).map(({ tick }) => tick.toISOString())).toEqual(['2030-01-02T06:00:00.000Z']);
    expect(await catching.state()).toMatchObject({ runs: 1, missed: 29 });
    const leaving = await replica(clock, { outside, spec: { cron: '0 * * * *' } });
    await clock.advance(5 * 60 * MINUTE + 2 * MINUTE);
    await allRun([leaving]);
    expect(await ticks()).toHaveLength(1);
    expect(await leaving.state()).toMatchObject({ runs: 1, missed: 34 });
    expect((await leaving.state()).dueAt?.toISOString()).toBe('2030-01-02T12:00:00.000Z');
  });

  it('runs now when an operator asks, once, and keeps its ticks', async () => {
    const clock = new ManualClock(START);
    const seen: ScheduledRun['trigger'][] = [];
    const one = await replica(clock, {
      outside,
      spec: { cron: '0 3 * * *' },
      run: async ({ trigger }) => void seen.push(trigger),
    });
    const { dueAt } = await one.state();
    const { unitOfWork } = opened[0] as (typeof opened)[number];
    await unitOfWork.run(() => one.store.request('books', 'ada', clock.now()));
    expect(await one.state()).toMatchObject({ requestedBy: 'ada' });
    await allRun([one]);
    expect(seen).toEqual(['manual']);
    expect(await one.state()).toMatchObject({ dueAt, runs: 1, requestedAt: undefined });
  });
});

it('a tick whose process dies between the claim and the commit runs again, and leaves nothing behind', async () => {
  const clock = new ManualClock(START);
  let begun = false;
  let finish: () => void = () => undefined;
  const hang = new Promise<void>((resolve) => (finish = resolve));
  const doomed = await replica(clock, {
    run: async (run, mine) => {
      await mine.note(run);
      begun = true;
      await hang;
    },
  });
  const other = await replica(clock);
  await clock.advance(30_000);
  const died = doomed.runner.runDue().catch((error: unknown) => error);
  await until(() => begun);
  expect(await other.runner.runDue()).toBe(false);
  // To Postgres, kill -9 is that every connection of the process ends.
  const { dataSource } = opened[0] as (typeof opened)[number];
  await sql(`SELECT pg_terminate_backend(pid) FROM pg_stat_activity
              WHERE datname = current_database() AND state = 'idle in transaction'`);
  await dataSource.destroy();
  finish();
  expect(await died).toBeInstanceOf(Error);
  expect(await other.runner.runDue()).toBe(false);
  await clock.advance(60_000);
  expect(await other.runner.runDue()).toBe(true);
  // The next tick has taken its place; of the first nothing is left but that it was begun.
  expect(await ticks()).toEqual([{ tick: new Date('2030-01-01T00:02:00Z'), replica: 1, attempt: 1 }]);
});

describe('a run outside a unit of work', () => {
  it('is taken over when its process is gone, and what the process still does is no longer its own', async () => {
    // The one that hangs has a clock that stands still: it renews nothing.
    const frozen = new ManualClock(START);
    const clock = new ManualClock(START);
    let finish: () => void = () => undefined;
    const hang = new Promise<void>((resolve) => (finish = resolve));
    const spec = { leaseMs: 60_000, cron: '0 3 * * *' };
    const runs: number[] = [];
    const dead = await replica(frozen, {
      outside: true,
      spec,
      run: async ({ attempt }) => {
        runs.push(attempt);
        await hang;
      },
    });
    const other = await replica(clock, {
      outside: true,
      spec,
      run: async ({ attempt }) => void runs.push(attempt),
    });
    for (const each of [frozen, clock]) each.jumpTo('2030-01-01T03:00:00Z');
    const late = dead.runner.runDue();
    await until(() => runs.length === 1);
    await clock.advance(59_000);
    expect(await other.runner.runDue()).toBe(false);
    await clock.advance(2_000);
    expect(await other.runner.runDue()).toBe(true);
    expect(runs).toEqual([1, 2]);
    finish();
    await late;
    expect(await other.state()).toMatchObject({ runs: 1, failures: 0 });
  });

  it('keeps its lease while it lives, and hears when it has lost it or the service stops', async () => {
    const clock = new ManualClock(START);
    const spec = { leaseMs: 60_000, cron: '0 3 * * *' };
    let signal: AbortSignal | undefined;
    const run = (run: ScheduledRun): Promise<void> => {
      signal = run.signal;
      return new Promise((_resolve, reject) =>
        run.signal.addEventListener('abort', () => reject(run.signal.reason as Error)),
      );
    };
    const one = await replica(clock, { outside: true, spec, run });
    const two = await replica(clock, { outside: true, spec });
    clock.jumpTo('2030-01-01T03:00:00Z');
    const running = one.runner.runDue();
    await until(() => signal !== undefined);
    for (let third = 0; third < 9; third++) {
      const before = (await one.state()).leaseUntil?.getTime() ?? 0;
      await clock.advance(20_000);
      await until(async () => ((await one.state()).leaseUntil?.getTime() ?? 0) > before);
      expect(await two.runner.runDue()).toBe(false);
    }
    one.runner.stop();
    expect(await running).toBe(false);
    // Stopped is not failed: the next process begins it again.
    expect(await two.state()).toMatchObject({ failures: 0, attempts: 0, leaseUntil: undefined });
    expect(await two.runner.runDue()).toBe(true);

    signal = undefined;
    const three = await replica(clock, { outside: true, spec, run });
    clock.jumpTo('2030-01-02T03:00:00Z');
    const losing = three.runner.runDue();
    await until(() => signal !== undefined);
    await sql(`UPDATE schedules SET lease_owner = gen_random_uuid()`);
    await clock.advance(20_000);
    await until(() => signal?.aborted === true);
    expect(await losing).toBe(false);
    expect(await two.state()).toMatchObject({ failures: 0 });
  });
});

it('an expression that has changed counts at once, and an unchanged one keeps what is due', async () => {
  const clock = new ManualClock(START);
  const one = await replica(clock, { spec: { cron: '0 3 * * *' } });
  await clock.advance(10 * MINUTE);
  await replica(clock, { spec: { cron: '0 3 * * *' } });
  expect((await one.state()).dueAt?.toISOString()).toBe('2030-01-01T03:00:00.000Z');
  await replica(clock, { spec: { cron: '0 1 * * *' } });
  expect((await one.state()).dueAt?.toISOString()).toBe('2030-01-01T01:00:00.000Z');
});
