import { ManualClock } from '@flotilla/testing';
import { OutboxMarks } from './outbox-marks.ts';
import type { OutboxRow } from './outbox-row.ts';

const row = (position: number): OutboxRow => ({
  position: String(position),
  partition: 0,
  message: { id: String(position), subject: 's', key: 'k', headers: {}, body: '{}' },
  writtenAtMs: 0,
});
const receipt = { stream: 'S', sequence: 1, duplicate: false };

function setUp() {
  const clock = new ManualClock();
  const batches: number[] = [];
  const warnings: string[] = [];
  const state = { fails: false };
  const marks = new OutboxMarks({
    runner: {
      query: (_sql, parameters) => {
        if (state.fails) return Promise.reject(new Error('database away'));
        batches.push((parameters[0] as string[]).length);
        return Promise.resolve();
      },
    },
    clock,
    log: { log: () => undefined, warn: (line) => warnings.push(line), error: () => undefined },
    delayMs: 25,
  });
  return { clock, batches, warnings, state, marks };
}

describe('OutboxMarks', () => {
  it('writes marks together after a short while', async () => {
    const { clock, batches, marks } = setUp();
    let done = 0;
    for (let each = 1; each <= 40; each += 1) marks.add(row(each), receipt, () => (done += 1));
    expect(clock.pending).toBe(1);
    await clock.advance(24);
    expect(batches).toEqual([]);
    await clock.advance(1);
    expect(batches).toEqual([40]);
    expect(done).toBe(40);
    expect(clock.pending).toBe(0);
  });

  it('does not wait when there are many', async () => {
    const { clock, batches, marks } = setUp();
    for (let each = 1; each <= 1_500; each += 1) marks.add(row(each), receipt, () => undefined);
    await clock.advance(0);
    await clock.advance(25);
    expect(batches).toEqual([1_000, 500]);
  });

  it('keeps marks that could not be written, says so, and tries again', async () => {
    const { clock, batches, warnings, state, marks } = setUp();
    state.fails = true;
    marks.add(row(1), receipt, () => undefined);
    await clock.advance(25);
    marks.add(row(2), receipt, () => undefined);
    await clock.advance(1_000);
    expect(batches).toEqual([]);
    expect(warnings.length).toBeGreaterThan(1);
    state.fails = false;
    await clock.advance(10_000);
    expect(batches).toEqual([2]);
  });

  it('flushes at once', async () => {
    const { batches, marks } = setUp();
    marks.add(row(1), receipt, () => undefined);
    await marks.flush();
    expect(batches).toEqual([1]);
    marks.stop();
  });
});
