import { AsyncLocalStorage } from 'node:async_hooks';
import { currentProcess, SeededRandom, Simulation } from './index.ts';

const long = { withinMs: 60_000 };

describe('a simulation', () => {
  it('lets everything happen in the order of simulated time, which jumps', async () => {
    const simulation = new Simulation({ seed: 1 });
    const seen: string[] = [];
    const say = (what: string) => () => void seen.push(`${what} at ${simulation.elapsedMs}`);
    simulation.after(3_000, say('late'));
    simulation.after(10, () => {
      say('early')();
      simulation.after(5, say('then'));
    });
    void simulation.clock.sleep(500).then(say('slept'));
    expect(await simulation.run(() => false, long)).toBe('idle');
    expect(seen).toEqual(['early at 10', 'then at 15', 'slept at 500', 'late at 3000']);
    expect(simulation.now()).toBe(Date.UTC(2030, 0, 1) + 3_000);
  });

  it('ends where it is told to, or at its bounds', async () => {
    const simulation = new Simulation({ seed: 1 });
    let ticks = 0;
    const tick = (): void => {
      ticks++;
      simulation.after(100, tick);
    };
    tick();
    expect(await simulation.run(() => ticks === 3, long)).toBe('done');
    expect(await simulation.run(() => false, { withinMs: 1_000 })).toBe('late');
    expect(simulation.elapsedMs).toBe(1_200);
    expect(await simulation.run(() => false, { ...long, maxEvents: 5 })).toBe('too-many-events');
  });

  it('lets a timer take a millisecond at least, so that who waits for the rest of a time gets there', async () => {
    const simulation = new Simulation({ seed: 1 });
    const { clock } = simulation;
    let looks = 0;
    simulation.after(0.1, () => {
      const sinceMs = clock.monotonicMs();
      const look = (): void => {
        looks++;
        const leftMs = 0.3 - (clock.monotonicMs() - sinceMs);
        if (leftMs > 0) clock.after(leftMs, look);
      };
      clock.after(0.3 - Number.EPSILON, look);
    });
    expect(await simulation.run(() => false, { ...long, maxEvents: 100 })).toBe('idle');
    expect(looks).toBe(1);
  });

  it('runs what ticks lead to before the next event, in whatever order they were asked for', async () => {
    const simulation = new Simulation({ seed: 1 });
    const seen: string[] = [];
    simulation.after(1, () =>
      process.nextTick(() => {
        void (async () => {
          for (let n = 0; n < 20; n++) await Promise.resolve();
          seen.push('first');
        })();
      }),
    );
    simulation.after(1, () => void seen.push('second'));
    await simulation.run(() => false, long);
    expect(seen).toEqual(['first', 'second']);
  });

  it('ends with what an action throws', async () => {
    const simulation = new Simulation({ seed: 1 });
    simulation.after(1, () => {
      throw new Error('no');
    });
    await expect(simulation.run(() => false, long)).rejects.toThrow('no');
  });

  it('runs what promises and ticks lead to before the next event', async () => {
    const simulation = new Simulation({ seed: 1 });
    const seen: string[] = [];
    simulation.after(1, () => {
      void (async () => {
        for (let n = 0; n < 20; n++) await Promise.resolve();
        await new Promise<void>((resolve) => process.nextTick(resolve));
        for (let n = 0; n < 20; n++) await Promise.resolve();
        seen.push('first');
      })();
    });
    simulation.after(1, () => void seen.push('second'));
    await simulation.run(() => false, long);
    expect(seen).toEqual(['first', 'second']);
  });

  it('ends with a process all that it began, and nothing of others', async () => {
    const simulation = new Simulation({ seed: 1 });
    const seen: string[] = [];
    const doomed = simulation.process('doomed');
    const other = simulation.process('other');
    const work = (name: string) => async (): Promise<void> => {
      for (let n = 1; n <= 3; n++) {
        await simulation.takes(10);
        seen.push(`${name} ${n} of ${currentProcess()?.name}`);
      }
    };
    void doomed.run(work('a'));
    void other.run(work('b'));
    doomed.run(() => simulation.outside(() => simulation.after(25, () => seen.push('sent before'))));
    simulation.after(15, () => doomed.crash());
    await simulation.run(() => false, long);
    expect(seen).toEqual(['a 1 of doomed', 'b 1 of other', 'b 2 of other', 'sent before', 'b 3 of other']);
    expect(doomed.run(() => simulation.after(1, () => seen.push('from the dead')))).toBeDefined();
    await simulation.run(() => false, long);
    expect(seen).toHaveLength(5);
  });

  it('calls back in the context of whoever asked', async () => {
    const simulation = new Simulation({ seed: 1 });
    const context = new AsyncLocalStorage<string>();
    const seen: (string | undefined)[] = [];
    context.run('mine', () => simulation.after(1, () => seen.push(context.getStore())));
    simulation.after(1, () => seen.push(context.getStore()));
    context.run('mine', () =>
      simulation.outside(() => simulation.after(1, () => seen.push(context.getStore()))),
    );
    await simulation.run(() => false, long);
    expect(seen).toEqual(['mine', undefined, undefined]);
  });

  it('is the same for the same seed, and another for another', async () => {
    const live = async (seed: number): Promise<string> => {
      const simulation = new Simulation({ seed });
      for (const name of ['a', 'b', 'c']) {
        void simulation.process(name).run(async () => {
          for (let n = 0; n < 10; n++) await simulation.latency(1, 50, `${name} ${n}`);
        });
      }
      await simulation.run(() => false, long);
      return simulation.trace.hash;
    };
    const hashes = await Promise.all([live(1), live(1), live(2)]);
    expect(hashes[0]).toBe(hashes[1]);
    expect(hashes[0]).not.toBe(hashes[2]);
  });
});

describe('seeded random numbers', () => {
  it('are the same for the same seed and stream, and spread over their range', () => {
    const draw = (seed: number, stream: string): number[] => {
      const random = new SeededRandom(seed, stream);
      return Array.from({ length: 2_000 }, () => random.int(1, 6));
    };
    expect(draw(7, 'dice')).toEqual(draw(7, 'dice'));
    expect(draw(7, 'dice')).not.toEqual(draw(8, 'dice'));
    expect(draw(7, 'dice')).not.toEqual(draw(7, 'other'));
    const counts = Map.groupBy(draw(7, 'dice'), (face) => face);
    expect([...counts.keys()].sort()).toEqual([1, 2, 3, 4, 5, 6]);
    for (const faces of counts.values()) expect(faces.length).toBeGreaterThan(250);
  });

  it('make ids that are UUIDs', () => {
    expect(new SeededRandom(1).uuid()).toMatch(
      /^[0-9a-f]{8}-[0-9a-f]{4}-8[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/,
    );
  });
});
