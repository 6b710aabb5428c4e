import { connectNats, FLEET_USERS } from '@flotilla/messaging';
import { startTestNats } from '@flotilla/testing';
import { buildProgram } from '../src/program.ts';
import { discoverServices } from '../src/services.ts';
import { accessOf } from '../src/stack/nats-access.ts';
import { provisionFleet } from '../src/stack/provisioning.ts';

const run = async (...argv: string[]): Promise<string> => {
  const printed: string[] = [];
  const note = (): void => undefined;
  const print = (text: string): void => void printed.push(text);
  await buildProgram({ terminal: { print, note, progress: note } }).parseAsync(argv, { from: 'user' });
  return printed.join('\n');
};

/** As an env file is read. */
async function secrets(): Promise<Record<string, string>> {
  const lines = (await run('secrets')).split('\n').map((line) => line.split('='));
  return Object.fromEntries(lines.map(([name = '', value = '']) => [name, value]));
}

it('the printed configuration and passwords make a broker on which a deployment works', async () => {
  const passwords = await secrets();
  const services = await discoverServices();
  // What a server in production finds in its environment, this one finds in its configuration.
  const variables = Object.entries(passwords).filter(([name]) => name.endsWith('_NATS_PASSWORD'));
  const config = [...variables.map(([name, value]) => `${name}: ${value}`), await run('nats-config')].join(
    '\n',
  );
  await using nats = await startTestNats({ config });
  const as = (user: string, password = passwords[`${user.toUpperCase()}_NATS_PASSWORD`] ?? '') =>
    accessOf(nats.url, { user, password });
  const report = await provisionFleet(as(FLEET_USERS.provisioner), services);
  expect(report.created.length).toBeGreaterThan(20);
  for (const user of [...services.map(({ name }) => name), ...Object.values(FLEET_USERS)]) {
    const connection = await connectNats({ ...as(user), name: user });
    await connection.close();
    await expect(connectNats({ ...as(user, 'wrong'), name: user })).rejects.toThrow('were refused');
  }
  await expect(connectNats({ servers: nats.url, name: 'nobody' })).rejects.toThrow('were refused');
});

it('every password is another, also of the next time, and there is one for each role and user', async () => {
  const [first, second] = [await secrets(), await secrets()];
  const values = [...Object.values(first), ...Object.values(second)];
  expect(new Set(values).size).toBe(values.length);
  for (const value of values) expect(value).toMatch(/^[a-z0-9]{32,}$/);
  expect(Object.keys(first)).toEqual(
    expect.arrayContaining([
      'POSTGRES_PASSWORD',
      'ORDERS_DB_PASSWORD',
      'ORDERS_MIGRATOR_DB_PASSWORD',
      'ORDERS_NATS_PASSWORD',
      'GATEWAY_NATS_PASSWORD',
      'OPERATOR_NATS_PASSWORD',
    ]),
  );
  expect(first).not.toHaveProperty('GATEWAY_DB_PASSWORD');
});

it('says as JSON what each may do', async () => {
  const grants = JSON.parse(await run('nats-config', '--json')) as {
    user: string;
    passwordVariable: string;
  }[];
  expect(grants.find(({ user }) => user === 'orders')).toMatchObject({
    passwordVariable: 'ORDERS_NATS_PASSWORD',
    permissions: { publish: { allow: expect.arrayContaining(['evt.orders.OrderPlaced.v1.*.*']) as unknown } },
  });
});
