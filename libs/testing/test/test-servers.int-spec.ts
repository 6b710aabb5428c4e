import { connect } from '@nats-io/transport-node';
import { Client } from 'pg';
import { createTestDatabase, testServers } from '../src/index.ts';

async function query(url: string, sql: string): Promise<Record<string, unknown>[]> {
  const client = new Client({ connectionString: url });
  await client.connect();
  try {
    return (await client.query<Record<string, unknown>>(sql)).rows;
  } finally {
    await client.end();
  }
}

describe('the shared servers', () => {
  it('are there, and are the same for every caller', async () => {
    const servers = await testServers();
    const connection = await connect({ servers: servers.natsUrl });
    expect(connection.info?.jetstream).toBe(true);
    await connection.close();
    expect(await query(servers.postgresUrl, 'SELECT 1 AS one')).toEqual([{ one: 1 }]);
    expect(await testServers()).toEqual(servers);
  });
});

describe('createTestDatabase', () => {
  it('copies a template that is migrated once', async () => {
    let migrations = 0;
    const template = {
      name: 'int-spec orders',
      migrate: async (url: string) => {
        migrations += 1;
        await query(url, 'CREATE TABLE orders (id int PRIMARY KEY)');
      },
    };
    const [first, second] = await Promise.all([
      createTestDatabase({ template }),
      createTestDatabase({ template }),
    ]);
    expect(migrations).toBe(1);
    await query(first.url, 'INSERT INTO orders VALUES (1)');
    expect(await query(first.url, 'SELECT id FROM orders')).toEqual([{ id: 1 }]);
    expect(await query(second.url, 'SELECT id FROM orders')).toEqual([]);
    await first.drop();
    await second.drop();
    await expect(query(first.url, 'SELECT 1')).rejects.toThrow(`database "${first.name}" does not exist`);
  });
});
