import { afterFailure, planRun, type DueSchedule } from './plan.ts';
import { resolveSchedule, type ResolvedSchedule, type ScheduleSpec } from './schedule.options.ts';

const at = (time: string): number => Date.parse(`2030-01-0${time}Z`);
const schedule = (spec: Partial<ScheduleSpec> = {}): ResolvedSchedule => {
  const problems: string[] = [];
  const resolved = resolveSchedule('books', { cron: '0 3 * * *', ...spec }, {}, problems);
  if (!resolved) throw new Error(problems.join());
  return resolved;
};
const due = (more: Partial<DueSchedule> = {}): DueSchedule => ({
  dueAt: at('2T03:00:00'),
  attempts: 0,
  requestedAt: undefined,
  ...more,
});

describe('what is done with a schedule', () => {
  const run = { kind: 'run', trigger: 'schedule', attempt: 1, missed: 0 };

  it('rests until its tick, and runs it then', () => {
    expect(planRun(due(), schedule(), at('2T02:59:59'))).toEqual({ kind: 'rest' });
    expect(planRun(due(), schedule(), at('2T03:00:00'))).toEqual({ ...run, tick: at('2T03:00:00') });
    expect(planRun(due(), schedule(), at('2T03:00:59'))).toEqual({ ...run, tick: at('2T03:00:00') });
  });

  it('leaves out what was missed, unless it catches up: then the latest runs, once, and not too late', () => {
    const late = at('4T05:00:00');
    expect(planRun(due(), schedule(), late)).toEqual({ kind: 'skip', missed: 3, nextDue: at('5T03:00:00') });
    const catching = schedule({ catchUp: 'latest', catchUpWithinMs: 2 * 3_600_000 });
    expect(planRun(due(), catching, late)).toEqual({ ...run, tick: at('4T03:00:00'), missed: 2 });
    expect(planRun(due(), catching, late + 1)).toMatchObject({ kind: 'skip', missed: 3 });
  });

  it('tries a tick again however late, until the next takes its place', () => {
    const failing = due({ attempts: 2 });
    expect(planRun(failing, schedule(), at('2T09:00:00'))).toEqual({
      ...run,
      tick: at('2T03:00:00'),
      attempt: 3,
    });
    expect(planRun(failing, schedule(), at('3T03:00:00'))).toEqual({ ...run, tick: at('3T03:00:00') });
  });

  it('runs what an operator asks for, beside its ticks', () => {
    const requestedAt = at('1T12:00:00');
    expect(planRun(due({ requestedAt }), schedule(), requestedAt + 500)).toEqual({
      ...run,
      trigger: 'manual',
      tick: requestedAt,
    });
  });
});

describe('after a failure', () => {
  const tick = at('2T03:00:00');
  const fullDelay = () => 1;

  it('comes another attempt, later each time, and no later than the next tick', () => {
    const later = (attempt: number, now: number, spec?: Partial<ScheduleSpec>) =>
      afterFailure(tick, attempt, schedule(spec), now, fullDelay);
    expect(later(1, tick)).toEqual({ givenUp: false, dueAt: tick, runAt: tick + 1_000, attempts: 1 });
    expect(later(4, tick + 60_000)).toMatchObject({ runAt: tick + 68_000, attempts: 4 });
    expect(later(1, tick + 500, { cron: '* * * * * *' })).toMatchObject({ runAt: tick + 1_000 });
  });

  it('is given up when it was tried often enough', () => {
    expect(afterFailure(tick, 3, schedule({ maxAttempts: 3 }), tick)).toEqual({
      givenUp: true,
      dueAt: at('3T03:00:00'),
      runAt: at('3T03:00:00'),
      attempts: 0,
    });
  });
});

it('a schedule says everything that is wrong with it', () => {
  const problems: string[] = [];
  expect(resolveSchedule('No!', { cron: '0 0 31 2 *', maxAttempts: 0, leaseMs: 1.5 }, {}, problems)).toBe(
    undefined,
  );
  expect(
    resolveSchedule('x', { cron: ({ when }: { when: string }) => when }, { when: 'soon' }, problems),
  ).toBe(undefined);
  expect(problems).toEqual([
    'schedule No!: "0 0 31 2 *" never comes',
    'schedule No!: its name must be kebab-case',
    'schedule No!: maxAttempts is 0, expected a whole number of at least 1',
    'schedule No!: leaseMs is 1.5, expected a whole number of at least 1',
    expect.stringMatching(/^schedule x: "soon" in UTC is not valid: expected five fields/) as string,
  ]);
});
