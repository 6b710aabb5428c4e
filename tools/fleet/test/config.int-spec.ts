import { execFile } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { EmbeddedNats } from '@flotilla/embedded';
import { ConfigBucket, connectNats, provision, topologyOf } from '@flotilla/messaging';
import { startTestNats, type TestServer } from '@flotilla/testing';
import type { NatsConnection } from '@nats-io/nats-core';

interface Ran {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

let nats: TestServer<EmbeddedNats>;
let connection: NatsConnection;
let data: string;
beforeAll(async () => {
  data = mkdtempSync(join(tmpdir(), 'fleet-config-'));
  nats = await startTestNats();
  connection = await connectNats({ servers: nats.url, name: 'test' });
  await provision(connection, topologyOf([]));
});
afterAll(async () => {
  await connection.close();
  await nats.dispose();
  rmSync(data, { recursive: true });
});

/** Runs the command as a person does. */
function fleet(args: readonly string[], env: NodeJS.ProcessEnv = { NATS_URL: nats.url }): Promise<Ran> {
  const main = join(import.meta.dirname, '../src/main.ts');
  return new Promise((resolve) => {
    execFile(
      process.execPath,
      ['--conditions=@flotilla/source', main, 'config', ...args, '--data', data],
      { env: { PATH: process.env['PATH'], ...env } },
      (error, stdout, stderr) =>
        resolve({ code: error === null ? 0 : Number(error.code ?? 1), stdout, stderr }),
    );
  });
}
const json = async (...args: string[]): Promise<unknown> =>
  JSON.parse((await fleet([...args, '--json'])).stdout);

describe('fleet config', () => {
  it('sets, shows, lists, unsets, and knows who did it', async () => {
    expect(await fleet(['set', 'orders', 'reviewAboveMinor', '20000', '--by', 'ada'])).toEqual({
      code: 0,
      stdout: 'reviewAboveMinor of orders is 20000 (revision 1)\n',
      stderr: '',
    });
    expect((await fleet(['get', 'orders', 'reviewAboveMinor'])).stdout).toMatch(
      /^reviewAboveMinor of orders: when screening .*\nvalue {4}20000 \(revision 1, .*, by ada\)\n$/,
    );
    const { settings } = (await json('list')) as { settings: { service: string; key: string }[] };
    expect(settings.map(({ service, key }) => `${service}.${key}`)).toEqual(
      expect.arrayContaining(['orders.reviewAboveMinor', 'gateway.rateLimitMax', 'payments.maxInFlight']),
    );
    expect(settings).toContainEqual(expect.objectContaining({ value: '20000', revision: 1, by: 'ada' }));
    expect((await fleet(['unset', 'orders', 'reviewAboveMinor', '--by', 'bob'])).code).toBe(0);
    expect((await fleet(['get', 'orders', 'reviewAboveMinor'])).stdout).toMatch(
      /what ORDERS_REVIEW_ABOVE_MINOR says, else 50000/,
    );
    expect(await json('history', 'orders', 'reviewAboveMinor')).toMatchObject([
      { value: '20000', by: 'ada' },
      { revision: 2, by: 'bob' },
    ]);
    expect((await fleet(['history', 'orders', 'reviewAboveMinor'])).stdout).toMatch(/bob\s+\(unset\)/);
  });

  it.each([
    [
      'a value that the schema refuses',
      ['set', 'orders', 'reviewAboveMinor', '-1'],
      /"-1" is not valid: .*>=0/,
    ],
    ['a setting that needs a restart', ['set', 'orders', 'port', '1'], /only with a restart, by PORT/],
    ['a setting that is not there', ['set', 'orders', 'nope', '1'], /does not exist; .*reviewAboveMinor/],
    ['a service that is not there', ['get', 'order', 'x'], /There is no service order/],
  ])('refuses %s before it is written', async (_what, args, message) => {
    const { code, stderr } = await fleet(args);
    expect([code, stderr]).toEqual([1, expect.stringMatching(message)]);
    const entry = await new ConfigBucket(connection).read('orders', args[2] ?? '');
    expect(entry?.value).toBeUndefined();
  });

  it('shows what came into the bucket by another way and is refused, or is nobody’s', async () => {
    const bucket = new ConfigBucket(connection);
    await bucket.set('gateway', 'rateLimitMax', 'lots', { by: 'eve', after: 0 });
    await bucket.set('gateway', 'oldName', '1', { by: 'eve', after: 0 });
    const { code, stdout, stderr } = await fleet(['list', 'gateway']);
    expect([code, stdout]).toEqual([0, expect.stringMatching(/rateLimitMax +lots REFUSED/)]);
    expect(stderr).toMatch(/Refused: gateway rateLimitMax: "lots" is not valid/);
    expect(stderr).toMatch(/no setting of any service: gateway.oldName/);
    expect((await fleet(['unset', 'gateway', 'oldName'])).code).toBe(0);
    expect((await fleet(['list', 'gateway'])).stderr).not.toMatch(/oldName/);
  });

  it('says what to do without a fleet, and how it is used', async () => {
    const alone = await fleet(['list'], {});
    expect([alone.code, alone.stderr]).toEqual([1, expect.stringMatching(/FLEET_NOT_RUNNING/)]);
    expect((await fleet(['set', 'orders'])).code).toBe(2);
  });
});
