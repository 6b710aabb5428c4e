// Prints what statements cost in the simulated Postgres, client included:
// node --conditions=@flotilla/source libs/testing/test/simulated-postgres-cost.ts
import { SimulatedPostgres } from '../src/simulation/postgres/index.ts';

const COUNT = 5_000;
const server = new SimulatedPostgres({
  step: () => Promise.resolve(),
  now: () => new Date(),
  random: () => 0.5,
});
server.createDatabase('template');
const first = new server.driver.Client({ connectionString: 'postgres://cost@simulated/template' });
await first.connect();
await first.query(`
  CREATE TABLE things (id int PRIMARY KEY, name text NOT NULL, amount bigint NOT NULL CHECK (amount >= 0), data jsonb);
  INSERT INTO things SELECT n, 'thing ' || n, n, '{"a": 1}' FROM generate_series(1, 100) AS n`);
await first.end();

async function measure(name: string, work: (index: number) => unknown): Promise<void> {
  for (let index = -500; index < 0; index += 1) await work(index);
  const before = process.cpuUsage();
  for (let index = 0; index < COUNT; index += 1) await work(index);
  const { user, system } = process.cpuUsage(before);
  console.log(`${((user + system) / COUNT).toFixed(1).padStart(7)} us  ${name}`);
}

await measure('copy of a database', (index) =>
  server.createDatabase(`copy ${index}`, { template: 'template' }),
);
server.createDatabase('run', { template: 'template' });
const client = new server.driver.Client({ connectionString: 'postgres://cost@simulated/run' });
await client.connect();
await measure('SELECT 1', () => client.query('SELECT 1'));
await measure('a row by its key', (index) =>
  client.query({ name: 'find', text: 'SELECT * FROM things WHERE id = $1', values: [(index + 500) % 100] }),
);
await measure('an update by key', (index) =>
  client.query({
    name: 'update',
    text: 'UPDATE things SET amount = amount + 1, data = $2 WHERE id = $1',
    values: [(index + 500) % 100, '{"a": 2}'],
  }),
);
await measure('an insert that meets its row', (index) =>
  client.query({
    name: 'upsert',
    text: `INSERT INTO things AS t (id, name, amount) VALUES ($1, 'x', 1)
           ON CONFLICT (id) DO UPDATE SET amount = t.amount + excluded.amount RETURNING amount`,
    values: [(index + 500) % 100],
  }),
);
await measure('a scan of 100 rows', () => client.query('SELECT count(*) FROM things WHERE amount > 50'));
await client.end();
