import { Client } from 'pg';
import { createTestDatabase, DatabaseLeakError, DatabaseTemplateError, uniqueName } from '../src/index.ts';

async function connected(url: string): Promise<Client> {
  const client = new Client({ connectionString: url, application_name: 'forgetful' });
  client.on('error', () => undefined); // a dropped database ends the connection
  await client.connect();
  return client;
}

describe('createTestDatabase', () => {
  it('gives an empty database that its role owns, and no rights beyond it', async () => {
    const database = await createTestDatabase({ prefix: 'My Test!' });
    expect(database.name).toMatch(/^my_test__[0-9a-f]{10}$/);
    const client = await connected(database.url);
    await client.query('CREATE TABLE mine ()');
    await expect(client.query('CREATE DATABASE other')).rejects.toThrow('permission denied');
    await client.end();
    await database.drop();
  });

  it('drops the database, and says which connections were left open', async () => {
    const database = await createTestDatabase();
    const client = await connected(database.url);
    await client.query('SELECT 42');
    const drop = database.drop({ graceMs: 100 });
    await expect(drop).rejects.toThrow(DatabaseLeakError);
    await expect(drop).rejects.toThrow(
      /1 connection\(s\) to test_\w+ were left open.*\n.*forgetful idle: SELECT 42/,
    );
    await expect(connected(database.url)).rejects.toThrow('does not exist');
    await client.end();
  });

  it('says that a migration failed, and tries it again the next time', async () => {
    const name = uniqueName('flaky');
    let attempts = 0;
    const template = {
      name,
      migrate: (): Promise<void> => {
        attempts += 1;
        return attempts === 1 ? Promise.reject(new Error('no such column')) : Promise.resolve();
      },
    };
    await expect(createTestDatabase({ template })).rejects.toThrow(
      `The template database "${name}" could not be migrated: no such column`,
    );
    await (await createTestDatabase({ template })).drop();
    await (await createTestDatabase({ template })).drop();
    expect(attempts).toBe(2);
  });

  it('refuses a template whose migration leaves a connection open', async () => {
    let left: Client | undefined;
    const template = {
      name: uniqueName('leaky'),
      migrate: async (url: string) => {
        left = await connected(url);
      },
    };
    const creation = createTestDatabase({ template });
    await expect(creation).rejects.toThrow(DatabaseTemplateError);
    await expect(creation).rejects.toThrow(/migrate\(\) left connections open: \d+ forgetful/);
    await left?.end();
  });
});
