import { createHash } from 'node:crypto';
import { createTestDatabase, type DatabaseTemplate } from '@flotilla/testing';
import { databases } from '../src/checks/fleet-facts.ts';
import { record, type RecordedAct } from './recorded/record.ts';
import { prepare, replay, type Replay } from './recorded/replay.ts';

/** Between them they have all statements of the first sixty-eight seeds but four, and waits in every database. */
const SEEDS = [1, 2, 3, 5, 6, 8, 10, 13, 16, 22, 39, 59];

let recorded: Map<string, RecordedAct[]>;

beforeAll(async () => {
  recorded = await record(SEEDS);
}, 120_000);

it('is recorded with connections that wait for each other, in every database', () => {
  const waiting = [...recorded].filter(([, acts]) => acts.some(({ kind }) => kind === 'wait'));
  const services = waiting.map(([database]) => database.split('_', 1)[0] ?? '');
  expect([...new Set(services)].sort()).toEqual([...databases].sort());
});

describe.each([...databases])('what the simulated services ask of the database of %s', (service) => {
  const actsOn = (database: string): RecordedAct[] => recorded.get(`${service}_${database}`) ?? [];

  /** Its migrations are replayed too. */
  const template = (): DatabaseTemplate => {
    const acts = actsOn('template');
    const content = createHash('sha256').update(JSON.stringify(acts)).digest('hex').slice(0, 16);
    return {
      name: `recorded-${service}-${content}`,
      migrate: async (url) => {
        await prepare(url);
        const { differences } = await replay(url, acts);
        expect(differences).toEqual([]);
      },
    };
  };

  it.each(SEEDS)(
    'is answered alike by a real Postgres, in seed %d',
    async (seed) => {
      const acts = actsOn(String(seed));
      expect(acts.length).toBeGreaterThan(50);
      await using database = await createTestDatabase({ template: template() });
      const { differences, statements }: Replay = await replay(database.url, acts);
      expect(differences).toEqual([]);
      expect(statements).toBeGreaterThan(20);
    },
    60_000,
  );
});
