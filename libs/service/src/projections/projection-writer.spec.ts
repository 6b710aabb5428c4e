import type { UnitOfWork } from '@flotilla/persistence';
import { defineEvent } from '@flotilla/contracts-protocol';
import { FlotillaError } from '@flotilla/kernel';
import { z } from 'zod';
import { defineProjection, on } from './projection.ts';
import { ProjectionWriter } from './projection-writer.ts';
import { key, viewTable } from './view-table.ts';

class ThingMade extends defineEvent({
  owner: 'things',
  name: 'ThingMade',
  version: 1,
  payload: z.object({ id: z.string() }),
  aggregate: ({ id }) => id,
}) {}
const things = viewTable<{ id: string }>('things', { id: key('text') });
const projection = defineProjection('thing-view', {
  version: 1,
  tables: [things],
  on: [on(ThingMade, ({ payload }) => [things.row(payload)])],
});

/** Units of work whose commits the test lets happen. */
class Units {
  readonly batches: string[][] = [];
  fail: (ids: readonly string[]) => Error | undefined = () => undefined;
  #gate: Promise<void> | undefined;
  #open: () => void = () => undefined;

  hold(): void {
    this.#gate = new Promise((resolve) => (this.#open = resolve));
  }

  release(): void {
    this.#gate = undefined;
    this.#open();
  }

  readonly unitOfWork: Pick<UnitOfWork, 'run' | 'query'> = {
    run: async (work) => {
      const result = await work();
      await this.#gate;
      const error = this.fail(this.batches.at(-1) ?? []);
      if (error) throw error;
      return result;
    },
    query: (_sql, [json] = []) => {
      this.batches.push((JSON.parse(String(json)) as { id: string }[]).map(({ id }) => id));
      return Promise.resolve([]);
    },
  };
}

const outcomeOf = (writing: Promise<void>): Promise<string> =>
  writing.then(
    () => 'written',
    (error: Error) => error.message,
  );

describe('the writer of a projection', () => {
  let units: Units;
  let writer: ProjectionWriter;
  const write = (id: string) => writer.write([things.row({ id })]);
  beforeEach(() => {
    units = new Units();
    writer = new ProjectionWriter(projection, units.unitOfWork);
  });

  it('writes an event that comes alone by itself', async () => {
    await write('a');
    await write('b');
    expect(units.batches).toEqual([['a'], ['b']]);
  });

  it('writes what comes while it commits as one batch', async () => {
    units.hold();
    const first = write('a');
    await new Promise(setImmediate);
    const rest = ['b', 'c', 'd', 'b'].map(write);
    units.release();
    await Promise.all([first, ...rest]);
    expect(units.batches).toEqual([['a'], ['b', 'c', 'd']]);
  });

  it('tells what it has written, after the commit', async () => {
    const written: number[] = [];
    writer = new ProjectionWriter(projection, units.unitOfWork, (rows) => written.push(rows.size));
    units.fail = () => new Error('no');
    await outcomeOf(write('a'));
    units.fail = () => undefined;
    await Promise.all(['b', 'c'].map(write));
    expect(written).toEqual([2]);
  });

  it('does not let an event that cannot be written take the others down', async () => {
    units.fail = (ids) => (ids.includes('bad') ? new Error('cannot be written') : undefined);
    const ids = ['a', 'b', 'bad', 'c', 'd', 'e', 'f', 'g'];
    expect(await Promise.all(ids.map((id) => outcomeOf(write(id))))).toEqual(
      ids.map((id) => (id === 'bad' ? 'cannot be written' : 'written')),
    );
    // Halved three times: not one by one.
    expect(units.batches).toHaveLength(7);
  });

  it('gives a batch back as it is when the database is away', async () => {
    units.fail = () => new FlotillaError('DATABASE_UNAVAILABLE', 'away');
    expect(await Promise.all(['a', 'b'].map((id) => outcomeOf(write(id))))).toEqual(['away', 'away']);
    expect(units.batches).toEqual([['a', 'b']]);
    units.fail = () => undefined;
    expect(await outcomeOf(write('a'))).toBe('written');
  });
});
