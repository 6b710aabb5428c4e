import { ManualClock } from './manual-clock.ts';

describe('ManualClock', () => {
  it('stands still until it is moved, and then moves both times', async () => {
    const clock = new ManualClock('2030-06-01T12:00:00Z');
    expect([clock.now(), clock.monotonicMs()]).toEqual([Date.UTC(2030, 5, 1, 12), 0]);
    await clock.advance(1_500);
    expect([clock.now(), clock.monotonicMs()]).toEqual([Date.UTC(2030, 5, 1, 12) + 1_500, 1_500]);
  });

  it('runs what becomes due in order of time, then of setting', async () => {
    const clock = new ManualClock();
    const log: string[] = [];
    for (const [name, delayMs] of [
      ['late', 30],
      ['first', 10],
      ['second', 10],
      ['never', 31],
    ] as const) {
      clock.after(delayMs, () => log.push(`${name}@${clock.monotonicMs()}`));
    }
    await clock.advance(30);
    expect(log).toEqual(['first@10', 'second@10', 'late@30']);
    expect([clock.pending, clock.nextInMs]).toEqual([1, 1]);
  });

  it('runs timers that are set on the way, as a retry loop does', async () => {
    const clock = new ManualClock();
    const at: number[] = [];
    const loop = (async () => {
      for (let attempt = 0; attempt < 3; attempt += 1) {
        await clock.sleep(100);
        at.push(clock.monotonicMs());
      }
    })();
    await clock.advance(1_000);
    await loop;
    expect(at).toEqual([100, 200, 300]);
  });

  it('cancels a timer, and ends a sleep when its signal aborts', async () => {
    const clock = new ManualClock();
    let fired = false;
    const handle = clock.after(10, () => (fired = true));
    handle.cancel();
    const abort = new AbortController();
    const sleep = clock.sleep(10, abort.signal);
    abort.abort();
    await sleep;
    await clock.sleep(10, abort.signal);
    await clock.advance(20);
    expect([fired, clock.pending]).toEqual([false, 0]);
  });

  it('goes to the next timer, and says when there is none', async () => {
    const clock = new ManualClock();
    clock.after(60_000, () => undefined);
    await clock.advanceToNext();
    expect(clock.monotonicMs()).toBe(60_000);
    await expect(clock.advanceToNext()).rejects.toThrow('no timer waits on this clock');
  });

  it('lets the wall time jump without the timers taking notice', async () => {
    const clock = new ManualClock();
    clock.after(10, () => undefined);
    clock.jumpTo('2020-01-01T00:00:00Z');
    expect([clock.now(), clock.monotonicMs(), clock.pending]).toEqual([Date.UTC(2020, 0, 1), 0, 1]);
    expect(() => clock.jumpTo('soon')).toThrow('"soon" is no date');
    await expect(clock.advance(-1)).rejects.toThrow('cannot advance by -1 ms');
  });
});
